// Pictures as files.
#pragma once

#include <filesystem>

#include "sdgen/sdgen.h"

namespace sdgen {

// Reads a PNG, JPEG, WebP, AVIF or JPEG XL file, upright as it wants to be shown, as 8-bit RGB. Throws Error(input)
// when it is missing, none of these, an animation, damaged, or too large (a side over 16384 pixels).
Image read_picture(const std::filesystem::path& path);

// Writes the picture as a PNG file without text in it, over whatever is there: the file is whole or not there at all.
// Throws Error(output).
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace sdgen
