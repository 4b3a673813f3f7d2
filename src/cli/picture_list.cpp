#include "cli/picture_list.h"

#include <fnmatch.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "image/image_format.h"
#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

// In the order in which they lead.
constexpr std::array kInputs = {"--init-image", "--reference-image", "--control-image", "--depth", "--mask"};

// With "~" for the home folder again where the value had it: no record gives away where that is.
std::string as_said(std::string file, const std::string& value, const std::string& expanded) {
  if (value == expanded || !value.starts_with('~')) return file;
  const std::size_t home = expanded.size() - (value.size() - 1);
  return "~" + file.substr(home);
}

thread_local int glob_error = 0;

int keep_glob_error(const char* /*folder*/, int error) {
  glob_error = error;
  return 1;  // ends it: a folder that is passed over is a lost picture
}

}  // namespace

bool names_several(const std::string& value) {
  const std::string path = in_home(value);
  std::error_code error;
  if (fs::is_directory(path, error)) return true;
  return path.find_first_of("*?[") != path.npos && !present(path);
}

bool would_list(const std::string& value, const fs::path& file) {
  const std::string path = in_home(value);
  std::error_code error;
  if (!fs::is_directory(path, error))
    return fnmatch(path.c_str(), file.lexically_normal().c_str(), FNM_PATHNAME | FNM_PERIOD) == 0 ||
           fnmatch(path.c_str(), file.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  return is_named_as_picture(file) && fs::equivalent(path, folder, error);
}

std::string input_name(const std::string& file) { return fs::path(file).stem().string(); }

PictureList::PictureList(std::string_view option, const std::string& value)
    : who_(concat(option, ' ', printable(value))) {
  const std::string path = in_home(value);
  std::error_code error;
  if (fs::is_directory(path, error))
    list_folder(path);
  else
    list_pattern(path);
  if (files_.size() > kMost)
    throw Error(Fault::input, concat(who_, ": has ", files_.size(), " files, more than the ", kMost,
                                     " that a run takes: name a part of them by a pattern"));
  std::ranges::sort(files_);
  for (std::size_t i = 0; i < files_.size(); ++i) {
    files_[i] = as_said(std::move(files_[i]), value, path);
    by_name_[input_name(files_[i])].push_back(i);
  }
}

void PictureList::list_folder(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    std::error_code unknown;  // of a link to nowhere: it is a name of a picture all the same, and reading it says why
    if (entry->path().filename().string().starts_with('.') || entry->is_directory(unknown)) continue;
    if (is_named_as_picture(entry->path()))
      files_.push_back(entry->path().string());
    else
      ++passed_over_;
  }
  if (error) throw Error(Fault::input, concat(who_, ": the folder cannot be read: ", error.message()));
  if (files_.empty())
    throw Error(Fault::input,
                concat(who_, ": the folder has no pictures",
                       passed_over_ > 0 ? concat("; none of its ", passed_over_, " files has the ending of one") : ""));
}

void PictureList::list_pattern(const std::string& pattern) {
  glob_t found{};
  const int failed = glob(pattern.c_str(), GLOB_ERR | GLOB_NOSORT, keep_glob_error, &found);
  const std::unique_ptr<glob_t, decltype(&globfree)> owner(&found, &globfree);
  if (failed == GLOB_NOSPACE) throw std::bad_alloc();
  if (failed == GLOB_ABORTED)
    throw Error(Fault::input, concat(who_, ": a folder cannot be read: ", std::strerror(glob_error)));
  for (std::size_t i = 0; i < found.gl_pathc; ++i) {
    std::error_code error;
    if (!fs::is_directory(found.gl_pathv[i], error)) files_.emplace_back(found.gl_pathv[i]);
  }
  if (files_.empty()) throw Error(Fault::input, concat(who_, ": no file has a name of this pattern"));
}

const std::string& PictureList::partner_of(const std::string& file) const {
  const auto found = by_name_.find(input_name(file));
  if (found == by_name_.end())
    throw Error(Fault::input, concat(who_, ": there is none for ", printable(file), ": no file is called '",
                                     printable(input_name(file)), "' and an ending"));
  const std::vector<std::size_t>& alike = found->second;
  const fs::path name = fs::path(file).filename();
  for (const std::size_t i : alike)
    if (fs::path(files_[i]).filename() == name) return files_[i];
  if (alike.size() > 1)
    throw Error(Fault::input, concat(who_, ": both ", printable(files_[alike[0]]), " and ", printable(files_[alike[1]]),
                                     " could be for ", printable(file)));
  return files_[alike[0]];
}

InputLists::InputLists(const Settings& given) : given_(given) {
  for (const char* option : kInputs)
    for (std::size_t i = 0; i < given_.size(); ++i) {
      const auto& [name, value] = given_[i];
      if (name != option) continue;
      if (names_several(value)) lists_.push_back({i, PictureList(option, value)});
      if (!single_) single_ = value;
    }
  leader_ = !lists_.empty();
  for (std::size_t k = 1; k < lists_.size(); ++k)
    for (const std::string& file : lists_[0].list.files()) lists_[k].list.partner_of(file);
}

Settings InputLists::at(std::size_t i) const {
  Settings one = given_;
  for (const auto& [setting, list] : lists_)
    one[setting].value = setting == lists_[0].setting ? list.files()[i] : list.partner_of(lists_[0].list.files()[i]);
  return one;
}

std::optional<std::string> InputLists::input(std::size_t i) const {
  return leader_ ? lists_[0].list.files()[i] : single_;
}

bool InputLists::would_list(const fs::path& file) const {
  return std::ranges::any_of(lists_,
                             [&](const Listed& listed) { return cli::would_list(given_[listed.setting].value, file); });
}

std::vector<std::string> InputLists::warnings() const {
  std::vector<std::string> all;
  for (const auto& [setting, list] : lists_)
    if (list.passed_over() > 0)
      all.push_back(concat(given_[setting].option, ' ', printable(given_[setting].value), ": ", list.passed_over(),
                           list.passed_over() == 1 ? " file is" : " files are",
                           " passed over: the ending is of no picture"));
  return all;
}

}  // namespace sdgen::cli
