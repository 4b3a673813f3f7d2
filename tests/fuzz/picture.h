// What any bytes come to that a format reads: a picture with its texts, or Error(input).
#pragma once

#include "fuzz.h"
#include "image/image_format.h"
#include "image/picture.h"

namespace sdgen::fuzz {

// `most`: pixels; slowness on large pictures is not a finding.
inline void read_picture_of(const ImageFormat& format, std::string_view bytes, std::int64_t most) {
  if (image_format_of(bytes) != &format) return;
  accepts({Fault::input}, [&] {
    const PictureTexts texts = format.texts(bytes, "fuzz");
    require(valid_utf8_prefix(texts.parameters) == texts.parameters.size(), "the text is UTF-8", texts.parameters);
    require(valid_utf8_prefix(texts.record) == texts.record.size(), "the record is UTF-8", texts.record);
    require(valid_utf8_prefix(texts.source_type) == texts.source_type.size(), "the mark is UTF-8", texts.source_type);
  });
  accepts({Fault::input}, [&] {
    const PictureInfo info = format.info(bytes, "fuzz");
    require(info.size.width >= 0 && info.size.height >= 0, "a size");
    require(info.orientation >= 1 && info.orientation <= 8, "one of eight orientations");
    if (std::int64_t{info.size.width} * info.size.height > most) return;
    const Image image = decode_picture(bytes, "fuzz");
    require(image.rgb.size() == std::size_t{3} * image.width * image.height, "all pixels are there");
    require(image.width * image.height == info.size.width * info.size.height, "the size that was promised");
    const InputMask mask = input_mask(bytes, "fuzz");
    require(mask.picture.image->rgb.size() == image.rgb.size(), "a mask of that size");
  });
}

}  // namespace sdgen::fuzz
