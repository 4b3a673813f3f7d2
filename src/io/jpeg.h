// What a JPEG file (ITU-T T.81) says about itself before its pixels: size, components, and its EXIF block's words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "sdgen/sdgen.h"

namespace sdgen {

// Does a file begin as JPEG files do? Throws Error(input) when it cannot be read.
bool is_jpeg(const std::filesystem::path& path);

struct JpegInfo {
  Size size;
  int components = 0;           // 1: grey, 3: colours, 4: inks
  int orientation = 1;          // see exif.h
  std::string comment;          // see exif.h
  std::uint64_t pixels_at = 0;  // byte offset of what follows the segments
};

// Reads the segments before the pixels. An EXIF block that is malformed counts as none, as viewers have it. Throws
// Error(input) when the file is missing, no JPEG, or damaged before its pixels.
JpegInfo read_jpeg_info(const std::filesystem::path& path);

}  // namespace sdgen
