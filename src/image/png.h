// PNG files (ISO/IEC 15948, https://www.w3.org/TR/png-3): writing pictures with text in them, reading the text back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/image_format.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// Texts as "parameters" and "sdgen", XMP as its standard has it (ISO 16684-3).
extern const ImageFormat kPng;

// The picture as an 8-bit RGB PNG file, lossless, the texts before the pixels. As Pillow does, a text that fits into
// Latin-1 becomes a tEXt chunk, any other an uncompressed iTXt chunk. A text must not cost the picture: NUL characters
// and bytes that are not UTF-8, which a chunk cannot hold, become U+FFFD. Throws Error(internal) when the image's size
// and data disagree or a keyword is not 1 to 79 printable Latin-1 characters with single spaces inside.
std::vector<std::byte> encode_png(const Image& image, std::span<const PictureText> texts);

// Do a file's bytes begin as PNG files do?
bool is_png(std::string_view bytes);

// All texts of a PNG file in file order (tEXt, zTXt, iTXt). Only their chunks are checked against their CRC. Throws
// Error(input), with `who` in front, when it is not a PNG, damaged, or has more than 16 MiB of text.
std::vector<PictureText> png_texts(std::string_view bytes, const std::string& who);

// What the chunks of a whole PNG file say.
struct PngInfo {
  Size size;
  std::string_view exif;  // of the eXIf chunk, within `bytes`; "": none
};
// Walks over all chunks of a file's bytes. Throws Error(input), with `who` in front, when one is malformed, has a wrong
// checksum, or when the end is missing.
PngInfo check_png(std::string_view bytes, const std::string& who);

// Its pixels, `channels` samples each: 3, or 4 with the opacity. `size` is the file's. 16-bit samples keep their high
// byte. Throws Error(input), with `who` in front, when they are damaged, bad_alloc.
std::vector<std::uint8_t> png_samples(std::string_view bytes, const std::string& who, Size size, int channels);

// Width and height that a PNG file's first chunk says. Throws Error(input), with `who` in front, when it is not a PNG
// or damaged there.
Size png_size(std::string_view bytes, const std::string& who);

}  // namespace sdgen
