#include "cli/model_path.h"

#include <cstdlib>
#include <vector>

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

fs::path existing(const std::string& path, const std::string& who) {
  if (present(path)) return path;
  throw Error(Fault::input, concat(who, ": there is no model '", printable(path), "'"));
}

}  // namespace

std::string model_said(const std::optional<std::string>& flag) {
  return flag ? *flag : environment("SDGEN_MODEL").value_or(kEmbeddedModel);
}

fs::path find_model(const std::optional<std::string>& flag) {
  const std::string given = model_said(flag);
  if (given != kEmbeddedModel) return existing(given, flag ? "--model" : "$SDGEN_MODEL");

  std::vector<fs::path> places;
  if (const auto data = environment("SDGEN_DATA")) places.push_back(fs::path(*data) / "default");
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);  // empty on error
  if (!error) {
    const fs::path above = program.parent_path().parent_path();
    places.push_back(above / "models" / "default");
    places.push_back(above / "share" / "sdgen" / "default");
  }
  std::vector<std::string> looked;
  for (const fs::path& place : places) {
    if (present(place / "model_index.json")) return place;
    looked.push_back(printable(place.string()));
  }
  throw Error(
      Fault::input,
      concat("no model: none is given with --model or $SDGEN_MODEL, and the embedded one is not in ", joined(looked)));
}

}  // namespace sdgen::cli
