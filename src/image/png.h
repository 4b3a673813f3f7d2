// PNG files (ISO/IEC 15948, https://www.w3.org/TR/png-3): writing pictures with text in them, reading the text back.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen {

// One text chunk. `keyword` says what `text` is: "parameters", "Software", ... Both are UTF-8.
struct PngText {
  std::string keyword;
  std::string text;
};

// The picture as an 8-bit RGB PNG file, lossless, the texts before the pixels. As Pillow does, a text that fits into
// Latin-1 becomes a tEXt chunk, any other an uncompressed iTXt chunk. A text must not cost the picture: NUL characters
// and bytes that are not UTF-8, which a chunk cannot hold, become U+FFFD. Throws Error(internal) when the image's size
// and data disagree or a keyword is not 1 to 79 printable Latin-1 characters with single spaces inside.
std::vector<std::byte> encode_png(const Image& image, std::span<const PngText> texts);

// Do a file's bytes begin as PNG files do?
bool is_png(std::string_view bytes);

// All texts of a PNG file in file order (tEXt, zTXt, iTXt). Only their chunks are checked against their CRC. Throws
// Error(input), with `who` in front, when it is not a PNG, damaged, or has more than 16 MiB of text.
std::vector<PngText> png_texts(std::string_view bytes, const std::string& who);

// What the chunks of a whole PNG file say.
struct PngInfo {
  Size size;
  std::string_view exif;  // of the eXIf chunk, within `bytes`; "": none
};
// Walks over all chunks of a file's bytes. Throws Error(input), with `who` in front, when one is malformed, has a wrong
// checksum, or when the end is missing.
PngInfo check_png(std::string_view bytes, const std::string& who);

// Width and height that a PNG file's first chunk says. Throws Error(input), with `who` in front, when it is not a PNG
// or damaged there.
Size png_size(std::string_view bytes, const std::string& who);

}  // namespace sdgen
