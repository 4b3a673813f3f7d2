// JPEG files (ITU-T T.81): writing pictures with words in them, and what a file says about itself before its pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "image/image_format.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// AUTOMATIC1111's text is in an EXIF block, sdgen's record in a COM segment, XMP in an APP1 segment of its own.
extern const ImageFormat kJpeg;

// Do a file's bytes begin as JPEG files do?
bool is_jpeg(std::string_view bytes);

struct JpegInfo {
  Size size;
  int components = 0;                // 1: grey, 3: colours, 4: inks
  int orientation = 1;               // see exif.h
  std::string comment;               // see exif.h
  std::vector<std::string> remarks;  // the texts of COM segments, any bytes; 16 at most
  std::string_view xmp;              // the first packet, within the file's bytes
  std::size_t pixels_at = 0;         // byte offset of what follows the segments
};

// What a JPEG file says in words.
struct JpegTexts {
  std::string comment;   // UTF-8, for the EXIF block's UserComment; "": no EXIF block
  std::string remark;    // any bytes, for a COM segment; "": none
  std::string xmp = {};  // a packet; "": none
};

// The picture as a baseline JPEG file, colours in full resolution, the texts before the pixels. `quality`: 1 to 100, as
// the Independent JPEG Group counts it. A text must not cost the picture: one that is longer than a segment takes (64
// KiB; UserComment half as many characters) is left out, with a warning to `warn`. Throws Error(internal) when the
// image's size and data disagree, or a side has more than the format's 65535 pixels.
std::vector<std::byte> encode_jpeg(const Image& image, const JpegTexts& texts,
                                   const std::function<void(const std::string&)>& warn, int quality = 95);

// The segments before the pixels of a file's bytes. An EXIF block that is malformed counts as none, as viewers have it.
// Throws Error(input), with `who` in front, when it is not a JPEG, or damaged before its pixels.
JpegInfo jpeg_info(std::string_view bytes, const std::string& who);

// The pixels of a JPEG file of `size`, its orientation left alone. Throws Error(input), with `who` in front, when they
// are damaged, bad_alloc. (libjpeg-turbo, whose pixels are Pillow's.)
Image decode_jpeg(std::string_view bytes, const std::string& who, Size size);

}  // namespace sdgen
