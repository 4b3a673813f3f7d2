// What a JPEG file (ITU-T T.81) says about itself before its pixels: size, and the text that AUTOMATIC1111 and others
// keep in EXIF's UserComment (CIPA DC-008, 4.6.5).
#pragma once

#include <filesystem>
#include <string>

#include "sdgen/sdgen.h"

namespace sdgen {

// Does a file begin as JPEG files do? Throws Error(input) when it cannot be read.
bool is_jpeg(const std::filesystem::path& path);

struct JpegInfo {
  Size size;
  std::string comment;  // UTF-8; "": none. What is no valid character in the file is U+FFFD.
};

// Reads the segments before the pixels. An EXIF block that is malformed counts as none, as viewers have it. Throws
// Error(input) when the file is missing, no JPEG, or damaged before its pixels.
JpegInfo read_jpeg_info(const std::filesystem::path& path);

}  // namespace sdgen
