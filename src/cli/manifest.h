// The journal of a batch: one JSON line a picture, appended as soon as the picture is there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "cli/options.h"
#include "io/file.h"

namespace sdgen::cli {

// How every line begins.
constexpr std::string_view kManifestLineBegin = "{\"file\":";

// A file of JSON lines that several processes may write at a time. A line is there whole or not at all: what a killed
// process has left of one is cut off by the next that writes.
class Manifest {
 public:
  // Makes the file if it is missing, and mends it. Throws Error(output) when it cannot be written.
  explicit Manifest(std::filesystem::path path);

  // Is there a line for this picture? Lines that cannot be read do not count.
  bool tells_of(const std::filesystem::path& picture);
  // How a line names a picture: from the manifest's folder on, so that the folder may be moved.
  std::string name_of(const std::filesystem::path& picture) const;
  // Appends `line`, which ends in a newline. Throws Error(output); then nothing of it is there.
  void add(std::string_view line);

 private:
  std::int64_t mend() const;
  void read_names();

  std::filesystem::path path_;
  Descriptor file_;
  std::optional<std::unordered_set<std::string>> names_;  // read when first asked for
};

// Where the manifest of this run belongs: --manifest, else for a batch file beside its pictures: "manifest.jsonl" in
// the folder that all of their names have in common, of shard 2/8 "manifest-2-of-8.jsonl". Empty: there is none.
std::filesystem::path manifest_path(const Options& options);

}  // namespace sdgen::cli
