#include "cli/lora_folder.h"

#include <algorithm>

#include "cli/arguments.h"
#include "formats/lora_summary.h"
#include "io/file.h"
#include "io/pickle.h"
#include "io/tensor_table.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".safetensors";

// The file's path from the folder, or its name alone, without the ending.
std::string stem_of(const fs::path& file, const fs::path& folder, bool whole) {
  return (whole ? file.lexically_relative(folder).replace_extension() : file.stem()).generic_string();
}

// Of one file by several paths, one.
std::vector<fs::path> different(const std::vector<fs::path>& files) {
  std::map<fs::path, fs::path> by_place;
  for (const fs::path& file : files) {
    std::error_code error;
    const fs::path place = fs::canonical(file, error);
    by_place.try_emplace(error ? file : place, file);
  }
  std::vector<fs::path> result;
  for (const auto& [place, file] : by_place) result.push_back(file);
  return result;
}

std::string without_commas(std::string text) {
  std::erase(text, ',');
  return text;
}

// Up to three of `known`, in any case of letters.
std::string near_names(const std::string& name, const std::vector<std::string>& known) {
  std::map<std::string, std::string> left;
  for (const std::string& each : known) left.try_emplace(lower(each), each);
  std::vector<std::string> found;
  while (found.size() < 3) {
    std::vector<std::string> words;
    for (const auto& [word, each] : left) words.push_back(word);
    const auto entry = left.find(nearest(lower(name), words));
    if (entry == left.end()) break;
    found.push_back(printable(entry->second, 80));
    left.erase(entry);
  }
  return found.empty() ? "" : concat("; did you mean ", joined(found, " or "), "?");
}

}  // namespace

LoraHashes read_lora_hashes(const std::string& text) {
  LoraHashes hashes;
  for (const std::string& entry : split(text, ',')) {
    const std::size_t colon = entry.rfind(':');
    if (colon == std::string::npos) continue;
    const std::string hash = lower(trimmed(std::string_view(entry).substr(colon + 1)));
    hashes.emplace(trimmed(entry.substr(0, colon)), hash.substr(0, 12));
  }
  return hashes;
}

LoraFolder::LoraFolder(fs::path folder, LoraHashes hashes, Warn warn)
    : folder_(std::move(folder)), hashes_(std::move(hashes)), warn_(std::move(warn)) {
  std::error_code error;
  if (!fs::is_directory(folder_, error))
    throw Error(Fault::input, concat("--lora-dir: ", printable(folder_.string()), " is not a folder"));
}

void LoraFolder::look_around() {
  if (seen_) return;
  for (const fs::path& file : files_below(folder_)) {
    const std::string ending = lower(file.extension().string());
    if (ending == kEnding) files_.push_back(file);
    if (ending == ".pt" || ending == ".ckpt" || ending == ".bin") pickles_.push_back(file);
  }
  seen_ = true;
}

void LoraFolder::read_headers() {
  if (!headers_.empty()) return;
  for (const fs::path& file : files_) {
    Header& header = headers_[file];
    try {
      const TensorTable table({file});
      const auto& metadata = table.files().front()->metadata();
      if (const auto alias = metadata.find("ss_output_name"); alias != metadata.end()) header.alias = alias->second;
      header.hash = written_lora_hash(table);
    } catch (const Error&) {
      // It is not the one that is looked for.
    }
  }
}

std::optional<fs::path> LoraFolder::with_hash(const std::string& hash) {
  for (const auto& [file, header] : headers_)
    if (header.hash == hash) return file;
  for (auto& [file, header] : headers_) {
    if (!header.hash.empty()) continue;
    try {
      header.hash = lora_hash(TensorTable({file}));
    } catch (const Error&) {
      header.hash = "none";
    }
    if (header.hash == hash) return file;
  }
  return std::nullopt;
}

LoraFolder::Paths LoraFolder::called(const std::string& name) const {
  const bool whole = name.find('/') != std::string::npos;
  const std::string wanted = whole ? fs::path(name).lexically_normal().generic_string() : name;
  Paths found;
  std::ranges::copy_if(files_, std::back_inserter(found),
                       [&](const fs::path& file) { return stem_of(file, folder_, whole) == wanted; });
  return found;
}

fs::path LoraFolder::only(const std::string& name, const Paths& files) const {
  const Paths paths = different(files);
  if (paths.size() == 1) return paths.front();
  std::vector<std::string> names;
  for (const fs::path& path : paths) names.push_back(printable(path.string()));
  const std::string stem = stem_of(paths.front(), folder_, /*whole=*/true);
  throw Error(Fault::usage, concat("several files are called '", printable(name, 80), "': ", joined(names, ", ", 8),
                                   "; say which by its path from --lora-dir, like ",
                                   printable(stem.find('/') == std::string::npos ? "./" + stem : stem, 80)));
}

void LoraFolder::not_found(const std::string& name) const {
  for (const fs::path& file : pickles_)
    if (stem_of(file, folder_, name.find('/') != std::string::npos) == name)
      throw Error(Fault::input, concat(printable(file.string()), ": ", pickle_refusal()));
  std::vector<std::string> known;
  for (const fs::path& file : files_)
    for (const bool whole : {false, true}) known.push_back(stem_of(file, folder_, whole));
  for (const auto& [file, header] : headers_)
    if (!header.alias.empty()) known.push_back(header.alias);
  throw Error(Fault::input,
              concat("none of the ", files_.size(), " .safetensors files in ", printable(folder_.string()),
                     " and below it is called '", printable(name, 80), "'", near_names(name, known)));
}

fs::path LoraFolder::look_for(const std::string& name) {
  look_around();
  const auto meant = hashes_.find(without_commas(name));
  const std::string hash = meant == hashes_.end() ? "" : meant->second;
  Paths found = called(name);
  if (found.empty()) {
    read_headers();
    for (const auto& [file, header] : headers_)
      if (header.alias == name) found.push_back(file);
  }
  if (found.empty() && !hash.empty())
    if (const auto file = with_hash(hash)) return *file;
  if (found.empty()) not_found(name);
  const auto right = [&hash](const fs::path& file) { return lora_hash(TensorTable({file})) == hash; };
  if (!hash.empty()) {
    if (const auto file = std::ranges::find_if(found, right); file != found.end()) return *file;
  }
  const fs::path file = only(name, found);
  if (!hash.empty())
    warn_(concat(printable(file.string()), ": the LoRA '", printable(name, 80),
                 "' of the picture was another file (its hash is ", printable(hash, 20), ")"));
  return file;
}

fs::path LoraFolder::find(const std::string& name) {
  const bool ends = lower(name).ends_with(kEnding);
  const std::string stem = ends ? name.substr(0, name.size() - kEnding.size()) : name;
  if (const auto known = known_.find(stem); known != known_.end()) return known->second;
  return known_[stem] = look_for(stem);
}

std::optional<fs::path> LoraFolder::find_by_hash(const std::string& hash) {
  look_around();
  read_headers();
  return hash.empty() ? std::nullopt : with_hash(hash);
}

}  // namespace sdgen::cli
