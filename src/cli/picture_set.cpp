#include "cli/picture_set.h"

#include <algorithm>

#include "cli/manifest.h"
#include "image/image_format.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostManifest = std::uint64_t{1} << 30;  // bytes

// Does it stay in its folder?
bool stays(const fs::path& name) {
  return !name.empty() && name.is_relative() && std::ranges::find(name, "..") == name.end() && name.has_filename();
}

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

bool is_manifest(const fs::path& file) {
  if (file.extension() == ".jsonl") return true;
  const InputFile opened(file);
  std::string head(kManifestLineBegin.size(), '\0');
  head.resize(opened.read_some(0, std::as_writable_bytes(std::span(head))));
  return head == kManifestLineBegin;
}

PictureSet pictures_of_manifest(const fs::path& manifest) {
  const std::string text = read_file(manifest, kMostManifest);
  PictureSet found;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) break;  // of a process that was killed
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    const std::string who = concat(printable(manifest.string()), ":", ++number);
    if (trimmed(line, " \t\r").empty()) continue;
    Json json = parse_json(line, who, 6, 10'000);
    const std::string name = json.is_object() ? text_of(json, "file") : "";
    if (name.empty()) throw Error(Fault::input, concat(who, ": is no line of a manifest: it names no file"));
    if (name.find('\0') != std::string::npos || !stays(name))
      throw Error(Fault::input,
                  concat(who, ": names '", printable(name), "', which is not in the manifest's own folder"));
    const fs::path clean = fs::path(name).lexically_normal();
    std::string sha256 = text_of(json, "sha256");
    found.insert_or_assign(clean.generic_string(),
                           NamedPicture{manifest.parent_path() / clean, std::move(sha256), std::move(json)});
  }
  return found;
}

PictureSet pictures_of_folder(const fs::path& folder) {
  PictureSet found;
  for (const fs::path& file : files_below(folder)) {
    const fs::path name = file.lexically_relative(folder);
    const bool hidden = std::ranges::any_of(
        name, [](const fs::path& part) { return part.native().starts_with('.') && part != "." && part != ".."; });
    if (!hidden && is_named_as_picture(name) && !name.stem().native().ends_with(".preview"))
      found.emplace(name.generic_string(), NamedPicture{file});
  }
  return found;
}

PictureSet picture_set(const fs::path& path) {
  std::error_code error;
  PictureSet found = fs::is_directory(path, error) ? pictures_of_folder(path) : pictures_of_manifest(path);
  if (found.empty()) throw Error(Fault::input, concat(printable(path.string()), ": there is no picture in it"));
  return found;
}

bool is_sheet(const std::string& name, const PictureSet& all) {
  constexpr std::string_view begin = "grid-";
  const fs::path path(name);
  const std::string stem = path.stem().string();
  if (!stem.starts_with(begin)) return false;
  return std::ranges::any_of(all, [&](const auto& entry) {
    const fs::path other(entry.first);
    return other.parent_path() == path.parent_path() && other.stem().string() == stem.substr(begin.size());
  });
}

}  // namespace sdgen::cli
