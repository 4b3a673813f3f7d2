// Pictures that `sdgen verify` draws again: what each says of its making, and what a manifest knows beside that.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/metadata.h"
#include "io/json.h"

namespace sdgen::cli {

struct Golden {
  std::filesystem::path file;           // where it is, or was
  bool there = true;                    // is it? Else only a manifest tells of it
  bool says_so = false;                 // is the record in the picture itself?
  Json record = {};                     // an object (record.h); null: there is none
  std::string sha256 = {};              // of its bytes
  std::string device = {};              // that made it; "": nobody says
  std::optional<Machine> machine = {};  // likewise
  std::string problem = {};             // why it cannot be drawn again; "": nothing so far

  std::string name() const { return file.string(); }
};

// The pictures of paths: files, manifests, and folders with the manifests in them; one of `every`, from the first on.
// Contact sheets, which have no record, are left out where their pictures are there. A picture that cannot be read, or
// does not say how it was made, has its problem. Throws Error(input) for a path that is not there, a folder or manifest
// without pictures, and a manifest that is malformed.
std::vector<Golden> goldens(const std::vector<std::string>& paths, std::size_t every);

// The quality of the file, where a record says it.
std::optional<int> quality_of(const Json& record);

// What the two records of a picture differ in beside the names of files, in words: the version of sdgen, files by their
// SHA-256, settings.
std::vector<std::string> changes(const Json& then, const OrderedJson& now);

}  // namespace sdgen::cli
