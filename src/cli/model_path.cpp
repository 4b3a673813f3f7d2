#include "cli/model_path.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "io/data_files.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

// The value of an environment variable; set but empty counts as unset.
std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

// Of the hub: models--ORG--NAME.
std::optional<fs::path> snapshot(const fs::path& cached) {
  std::error_code error;
  if (!cached.filename().string().starts_with("models--")) return std::nullopt;
  if (fs::is_regular_file(cached / "refs" / "main", error)) {
    const std::string revision(trimmed(read_file(cached / "refs" / "main", 1000), " \t\r\n"));
    if (!revision.empty() && revision.find('/') == revision.npos &&
        fs::is_directory(cached / "snapshots" / revision, error))
      return cached / "snapshots" / revision;
  }
  std::optional<fs::path> latest;
  for (const auto& entry : fs::directory_iterator(cached / "snapshots", error))
    if (entry.is_directory(error) &&
        (!latest || fs::last_write_time(entry, error) > fs::last_write_time(*latest, error)))
      latest = entry.path();
  return latest;
}

bool is_hub_name(const std::string& text) {
  const std::size_t slash = text.find('/');
  const auto good = [](std::string_view part) {
    return !part.empty() && part[0] != '.' && part[0] != '~' && std::ranges::all_of(part, [](unsigned char c) {
      return std::isalnum(c) || c == '-' || c == '_' || c == '.';
    });
  };
  return slash != text.npos && good(std::string_view(text).substr(0, slash)) &&
         good(std::string_view(text).substr(slash + 1));
}

std::vector<fs::path> caches() {
  std::vector<fs::path> folders;
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const auto folder = environment(name)) folders.emplace_back(in_home(*folder));
  if (const auto home = environment("HF_HOME")) folders.push_back(fs::path(in_home(*home)) / "hub");
  const auto cache = environment("XDG_CACHE_HOME");
  folders.push_back(fs::path(cache ? *cache : in_home("~/.cache")) / "huggingface" / "hub");
  return folders;
}

}  // namespace

fs::path located(const std::string& said) {
  const std::size_t last = said.find_last_not_of('/');
  if (present(said)) return snapshot(said.substr(0, last + 1)).value_or(said);
  if (!is_hub_name(said)) return said;
  const std::size_t slash = said.find('/');
  const std::string folder = concat("models--", said.substr(0, slash), "--", said.substr(slash + 1));
  for (const fs::path& cache : caches())
    if (const auto found = snapshot(cache / folder)) return *found;
  return said;
}

std::string model_said(const std::optional<std::string>& flag) {
  return flag ? *flag : environment("SDGEN_MODEL").value_or(kEmbeddedModel);
}

fs::path find_model(const std::optional<std::string>& flag) {
  const std::string given = model_said(flag);
  if (given != kEmbeddedModel) {
    const fs::path model = located(in_home(given));
    if (present(model)) return model;
    throw Error(Fault::input, concat(flag ? "--model" : "$SDGEN_MODEL", ": there is no model '", printable(given), "'",
                                     is_hub_name(given) ? ", and none of this name in the hub's cache" : ""));
  }

  std::vector<std::string> looked;
  for (const fs::path& place : data_places("default")) {
    if (present(place / "model_index.json")) return place;
    looked.push_back(printable(place.string()));
  }
  throw Error(
      Fault::input,
      concat("no model: none is given with --model or $SDGEN_MODEL, and the embedded one is not in ", joined(looked)));
}

}  // namespace sdgen::cli
