#include "cli/grid.h"

#include <algorithm>
#include <iterator>

#include "cli/results.h"
#include "image/picture.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kAutomaticSide = 10;

const std::string* find_given(const GridEntry& entry, const std::string& key) {
  const auto found = std::ranges::find(entry.given, key, &std::pair<std::string, std::string>::first);
  return found == entry.given.end() ? nullptr : &found->second;
}

}  // namespace

GridEntry grid_entry(const Job& job, bool exists) {
  GridEntry entry{job.index, job.file, exists, {{"seed", std::to_string(*job.request.seed)}}, job.of_pictures()};
  if (job.request.prompt) entry.given.emplace_back("prompt", *job.request.prompt);
  for (const auto& [option, value] : job.given) {
    const std::string key = option.substr(2);
    if (key == "seed" || key == "prompt" || key == "num-images") continue;
    const auto known = std::ranges::find(entry.given, key, &std::pair<std::string, std::string>::first);
    if (known == entry.given.end())
      entry.given.emplace_back(key, value);
    else
      known->second += ", " + value;
  }
  return entry;
}

std::vector<std::string> grid_labels(const std::vector<GridEntry>& entries) {
  const auto differs = [&](const std::string& key) {
    const std::string* first = find_given(entries.front(), key);
    return std::ranges::any_of(entries, [&](const GridEntry& entry) {
      const std::string* own = find_given(entry, key);
      return !own != !first || (own && *own != *first);
    });
  };
  std::map<std::string, bool> several;
  std::vector<std::string> labels;
  for (const GridEntry& entry : entries) {
    std::string& label = labels.emplace_back();
    for (const auto& [key, value] : entry.given) {
      const auto [known, fresh] = several.try_emplace(key);
      if (fresh) known->second = key == "seed" || differs(key);
      if (!known->second) continue;
      label += concat(label.empty() ? "" : "\n", key == "prompt" ? "" : key,
                      key == "prompt" || value.empty() ? "" : " ", value);
    }
  }
  return labels;
}

fs::path sheet_file(const fs::path& first) {
  fs::path name = "grid-";
  name += first.filename();
  return first.parent_path() / name.replace_extension(".png");
}

void Grid::plan(GridEntry entry) {
  const std::uint64_t sheet = sheet_of(entry.index);
  if (!sheets_.count(sheet) && !kept_.count(sheet)) {
    const fs::path file = sheet_file(entry.file);
    std::error_code ignored;
    if (fs::exists(entry.file, ignored) && !fs::is_regular_file(entry.file, ignored))
      throw Error(Fault::usage, concat("--grid: '", printable(entry.file.string()),
                                       "' is not a regular file, so no sheet can be written next to it"));
    const bool exists = fs::exists(file, ignored);
    if (exists && rules_.existing == Existing::refused)
      throw Error(Fault::output, concat("'", printable(file.string()),
                                        "', the sheet of --grid, exists; --overwrite replaces it, --skip-existing "
                                        "keeps it"));
    if (exists && rules_.existing == Existing::kept)
      kept_.insert(sheet);
    else
      sheets_[sheet] = file;
  }
  if (!kept_.count(sheet)) planned_[entry.index] = std::move(entry);
}

void Grid::plan(const std::vector<Job>& made, const std::vector<Job>& skipped) {
  std::map<std::uint64_t, GridEntry> all;
  for (const Job& job : made) all[job.index] = grid_entry(job, /*exists=*/false);
  for (const Job& job : skipped) all[job.index] = grid_entry(job, /*exists=*/true);
  for (auto& [index, entry] : all) plan(std::move(entry));
}

void Grid::add(std::uint64_t index, const Image& picture) {
  const std::uint64_t sheet = sheet_of(index);
  while (!sheets_.empty() && sheets_.begin()->first < sheet) write(sheets_.begin()->first);
  if (kept_.count(sheet)) return;
  const std::uint64_t begin = sheet * shape_.cells(), end = begin + shape_.cells();
  const std::uint64_t last = std::prev(planned_.lower_bound(end))->first;
  pictures_[index] = small(picture, shape_of(sheet, last - begin + 1));
}

void Grid::end() {
  while (!sheets_.empty()) write(sheets_.begin()->first);
}

Image Grid::small(Image picture, Size shape) {
  const int width = picture.width;
  picture = at_most(std::move(picture), most_of_a_cell(shape.width, shape.height));
  reduced_ = reduced_ || picture.width < width;
  return picture;
}

Size Grid::shape_of(std::uint64_t sheet, std::size_t cells) const {
  if (!shape_.automatic()) return {shape_.columns, shape_.rows};
  return sheet == 0 ? squarest(cells) : Size{kAutomaticSide, kAutomaticSide};
}

// A cell of a file that was there before; empty where it is not a picture.
Sheet::Cell Grid::existing(const fs::path& file, const std::string& label, Size shape) {
  try {
    return {small(read_picture(file), shape), label};
  } catch (const Error& error) {
    if (rules_.note) rules_.note(concat("warning: ", error.what(), ": its place in the sheet stays empty"));
    return {};
  }
}

void Grid::write(std::uint64_t sheet) {
  const std::uint64_t begin = sheet * shape_.cells(), end = begin + shape_.cells();
  std::vector<GridEntry> entries;
  for (auto at = planned_.begin(); at != planned_.end() && at->first < end; at = planned_.erase(at))
    entries.push_back(std::move(at->second));
  const bool of_pictures = std::ranges::any_of(entries, &GridEntry::of_pictures);
  const Size shape = shape_of(sheet, entries.back().index - begin + 1);
  const std::vector<std::string> labels = grid_labels(entries);
  Sheet drawing{shape.width, shape.height, {}, shape_.column_headings, shape_.row_headings};
  drawing.cells.resize(entries.back().index - begin + 1);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Sheet::Cell& cell = drawing.cells[entries[i].index - begin];
    if (const auto made = pictures_.find(entries[i].index); made != pictures_.end())
      cell = {small(std::move(made->second), shape), labels[i]};  // a pipe may have brought more than was known
    else if (entries[i].exists)
      cell = existing(entries[i].file, labels[i], shape);
  }
  pictures_.clear();
  const fs::path file = sheets_.at(sheet);
  sheets_.erase(sheet);
  if (std::ranges::all_of(drawing.cells, [](const Sheet::Cell& cell) { return cell.picture.width == 0; })) return;
  save_picture(file, png_format(), drawn(std::move(drawing)), {.source_type = source_type(rules_.mark, of_pictures)},
               rules_.existing == Existing::replaced);
  const bool reduced = std::exchange(reduced_, false);
  if (rules_.note)
    rules_.note(concat(
        "sheet ", file.string(),
        reduced ? concat(", with pictures made smaller: a sheet's side has at most ", kLongestSheet, " pixels") : ""));
}

}  // namespace sdgen::cli
