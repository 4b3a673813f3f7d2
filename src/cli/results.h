// Finished pictures leave the program here: PNG to its place, then its line to stdout.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "cli/metadata.h"
#include "cli/options.h"
#include "io/png.h"

namespace sdgen::cli {

// Writes `image` to `file` (empty: stdout), whole or not at all. Throws Error(output).
void save_png(const std::filesystem::path& file, const Image& image, std::span<const PngText> texts, bool overwrite);

// Writes `image` to `file` (empty: stdout) in the options' format, whole or not at all, and then, unless the picture
// itself went there, one line to stdout: the path, or with --json what metadata.h says. `warn` is told of metadata for
// which the format has no room. Throws Error(output).
void save_picture(const Options& options, const std::filesystem::path& file, const Image& image, const Made& made,
                  const Timings& timings, const std::function<void(const std::string&)>& warn);

}  // namespace sdgen::cli
