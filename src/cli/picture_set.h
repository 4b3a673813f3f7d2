// Pictures by their names: of a folder, or of those that a manifest tells of.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "io/json.h"

namespace sdgen::cli {

// What is known of a picture.
struct NamedPicture {
  std::filesystem::path file;  // where it is, or should be
  std::string sha256 = {};     // of its bytes, as a manifest has it; "": nobody says
  Json line = {};              // of the manifest; null: none
};

// By their paths from the folder on, with '/' between.
using PictureSet = std::map<std::string, NamedPicture>;

// Does the file begin as a manifest does, or is it named as one (.jsonl)?
bool is_manifest(const std::filesystem::path& file);

// The pictures that a manifest tells of, in its folder. Of several lines about one the last counts; a last line without
// an end, which a killed process left, does not. Throws Error(input), with file and line, for what is no manifest, and
// for a name that leads out of the folder.
PictureSet pictures_of_manifest(const std::filesystem::path& manifest);

// The files in a folder and below it that are named as PNG and JPEG files are, without hidden ones and previews. Throws
// Error(input) when it cannot be read.
PictureSet pictures_of_folder(const std::filesystem::path& folder);

// The set that a folder or a manifest is. Throws Error(input), also where there is no picture in it.
PictureSet picture_set(const std::filesystem::path& path);

// Is it a contact sheet of the set's pictures: "grid-" and the name of one?
bool is_sheet(const std::string& name, const PictureSet& all);

}  // namespace sdgen::cli
