// --grid: contact sheets of a run's pictures, beside the pictures themselves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/jobs.h"
#include "image/sheet.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// What --grid says. No columns and rows: as square as possible over the whole run, but 10 by 10 for what is larger.
struct GridShape {
  int columns = 0, rows = 0;
  std::vector<std::string> column_headings = {}, row_headings = {};  // of every sheet; one for each, or none

  bool automatic() const { return columns == 0; }
  std::size_t cells() const { return automatic() ? 100 : std::size_t(columns) * rows; }
};

// A picture as a sheet shows it.
struct GridEntry {
  std::uint64_t index;         // of the run, from 0: its place
  std::filesystem::path file;  // names its sheet where it is the first one there
  bool exists = false;         // it was there before the run (--skip-existing)
  // What its label says, in this order, where that is not the same for all pictures of the sheet: {"steps", "20"}; and
  // the seed always. Of a prompt the text alone.
  std::vector<std::pair<std::string, std::string>> given = {};
  bool of_pictures = false;  // it is made of others
};

// `exists`: it was skipped.
GridEntry grid_entry(const Job& job, bool exists);

// The label of each picture of a sheet.
std::vector<std::string> grid_labels(const std::vector<GridEntry>& entries);

// Where the sheet of which `first` is the first picture is written: "grid-" before its name, as PNG.
std::filesystem::path sheet_file(const std::filesystem::path& first);

// Pictures are planned, then added, in the order of their indices, and a sheet is written when a picture of the next
// one is added. One that is planned and never added (it failed) leaves its cell empty. Holds the pictures of a single
// sheet, made as small as they are shown there. To be called by one thread at a time.
class Grid {
 public:
  struct Rules {
    Existing existing = Existing::refused;              // what becomes of sheets that exist
    std::function<void(const std::string&)> note = {};  // gets the path of each sheet
    bool mark = true;                                   // sheets say that a model made them
  };
  Grid(GridShape shape, Rules rules) : shape_(std::move(shape)), rules_(std::move(rules)) {}

  // Throws Error(output) where its sheet exists already, Error(usage) where it cannot lie beside the picture (a
  // device).
  void plan(GridEntry entry);
  // Plans what is known of a run: of `made` the pictures are added, those of `skipped` are there.
  void plan(const std::vector<Job>& made, const std::vector<Job>& skipped);
  // Of a planned picture, as it was made. Throws as writing does, and as reading pictures that existed does.
  void add(std::uint64_t index, const Image& picture);
  // Writes what is left.
  void end();

 private:
  std::uint64_t sheet_of(std::uint64_t index) const { return index / shape_.cells(); }
  void write(std::uint64_t sheet);
  Sheet::Cell existing(const std::filesystem::path& file, const std::string& label, Size shape);
  Size shape_of(std::uint64_t sheet, std::size_t cells) const;
  Image small(Image picture, Size shape);

  GridShape shape_;
  Rules rules_;
  std::map<std::uint64_t, GridEntry> planned_;
  std::map<std::uint64_t, Image> pictures_;                // of the sheet under way
  std::map<std::uint64_t, std::filesystem::path> sheets_;  // those to write
  std::set<std::uint64_t> kept_;                           // those that are there already
  bool reduced_ = false;                                   // is a picture of the sheet under way made smaller?
};

}  // namespace sdgen::cli
