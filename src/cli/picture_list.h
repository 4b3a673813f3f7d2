// Options that name an input picture may name several: a folder, or a pattern. A picture is made of each.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cli/settings.h"

namespace sdgen::cli {

// Does the value of such an option name several: a folder, or, where there is no file of this name, a pattern with '*',
// '?' or '[' (as glob(7) has them)?
bool names_several(const std::string& value);

// Would a folder or pattern have this file, once it is written?
bool would_list(const std::string& value, const std::filesystem::path& file);

// What {input} stands for: the picture's name without its ending.
std::string input_name(const std::string& file);

// The pictures that a folder or a pattern names.
class PictureList {
 public:
  static constexpr std::size_t kMost = 100'000;

  // Of a folder the files whose endings are of pictures, and that do not begin with '.', without those in folders below
  // it; of a pattern all files. `option` is for messages. Throws Error(input) where there are none or more than kMost,
  // or a folder cannot be read.
  PictureList(std::string_view option, const std::string& value);

  // Sorted by their bytes, in the words of the value: "photos/a.png" of "photos/", "~/a.png" of "~/*.png".
  const std::vector<std::string>& files() const { return files_; }
  // How many files of a folder are no pictures by their endings.
  std::size_t passed_over() const { return passed_over_; }
  // The one that belongs to `file`, of another list: of its name, else of its name but for the ending. Throws
  // Error(input) where there is none, or there are several.
  const std::string& partner_of(const std::string& file) const;

 private:
  void list_folder(const std::string& folder);
  void list_pattern(const std::string& pattern);

  std::string who_;  // "--mask masks/"
  std::vector<std::string> files_;
  std::unordered_map<std::string, std::vector<std::size_t>> by_name_;  // without their endings
  std::size_t passed_over_ = 0;
};

// What was said for a picture, where options may name several: of the first of --init-image, --reference-image,
// --control-image, --depth and --mask that does, a picture is made of each. Others that name several have its partners.
class InputLists {
 public:
  // Throws Error(input) where a list cannot be made, or a partner is missing.
  explicit InputLists(const Settings& given);

  std::size_t count() const { return leader_ ? lists_[0].list.files().size() : 1; }
  bool several() const { return leader_; }
  // What was said, with one picture for each option; i < count().
  Settings at(std::size_t i) const;
  // The picture that at(i) is called by: of the list, else the first of these options that was said; nothing: none was.
  std::optional<std::string> input(std::size_t i) const;
  // Would one of the lists have this file, once it is written?
  bool would_list(const std::filesystem::path& file) const;
  // What users should know of the lists.
  std::vector<std::string> warnings() const;

 private:
  struct Listed {
    std::size_t setting;  // of given_
    PictureList list;
  };
  Settings given_;
  std::vector<Listed> lists_;  // the leader first
  bool leader_ = false;
  std::optional<std::string> single_;
};

}  // namespace sdgen::cli
