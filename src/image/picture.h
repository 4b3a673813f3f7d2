// Pictures that people have, files of every kind in the formats of image_format.h, as 8-bit RGB.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "image/image_format.h"
#include "sdgen/picture.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// Decodes the bytes of a picture file (the first ones say its format), upright as it wants to be shown. As diffusers'
// load_image has it (Pillow's convert("RGB")): grey is spread over the three channels, a palette looked up,
// transparency dropped with the colours beneath it kept, colour profiles are not applied. Samples of more bits keep
// their high byte, which is what Pillow does with a PNG's colours; 16-bit grey, which Pillow clips to white, too. Each
// side has at most 16384 pixels, the whole at most 2^27, looked at before anything is decoded. Throws Error(input),
// with `who` in front, when it is of no format that is read, an animation, damaged (PNG: any checksum), cut, or a JPEG
// in inks (CMYK), whose colours are unknown without its profile.
Image decode_picture(std::string_view bytes, const std::string& who);

// A picture that a request is made of, and the SHA-256 of the bytes that it was decoded from.
struct InputPicture {
  std::shared_ptr<const Image> image;
  std::string sha256;
};
InputPicture input_picture(std::string_view bytes, const std::string& who);

// A mask: white is 1. Where its colours are all white or all black, an editor may have put the mask into the
// transparency: opaque is white then.
struct InputMask {
  InputPicture picture;
  enum class Said { by_colours, by_opacity, by_colours_despite_transparency } said = Said::by_colours;
};
InputMask input_mask(std::string_view bytes, const std::string& who);

// What a picture file says in words. Throws Error(input), with `who` in front, for what is of no format that is read,
// or damaged.
PictureTexts picture_texts(std::string_view bytes, const std::string& who);

// That these bytes are of no picture that is read, and what they are.
Error no_known_picture(std::string_view bytes, const std::string& who);

// The bytes of a picture file; of any other file the first ones, which say what it is. Throws Error(input) when the
// file is missing or larger than 256 MiB.
std::string read_picture_file(const std::filesystem::path& path);

// Throws Error(input) where the file is missing, cannot be read, or does not begin as a picture does that is read: what
// can be known of thousands of pictures before the first is read.
void require_picture_file(const std::filesystem::path& path);

}  // namespace sdgen
