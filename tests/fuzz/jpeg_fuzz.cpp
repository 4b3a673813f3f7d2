// Any bytes are a JPEG file or are refused with Error(input); any EXIF block says something valid or nothing.
#include "fuzz.h"
#include "image/exif.h"
#include "image/jpeg.h"
#include "image/picture.h"

using namespace sdgen;
using fuzz::accepts;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  constexpr int most = 1 << 18;  // pixels: slowness on large ones is not a finding
  const std::string_view text = fuzz::text_of(bytes, size);
  accepts({Fault::input}, [&] {
    const JpegInfo info = jpeg_info(text, "fuzz");
    fuzz::require(valid_utf8_prefix(info.comment) == info.comment.size(), "the comment is UTF-8", info.comment);
    fuzz::require(info.orientation >= 1 && info.orientation <= 8, "one of eight orientations");
    fuzz::require(info.remarks.size() <= 16 && info.pixels_at <= size, "bounds");
    if (std::int64_t{info.size.width} * info.size.height > most) return;
    const Image image = decode_picture(text, "fuzz");
    fuzz::require(image.rgb.size() == std::size_t{3} * image.width * image.height, "all pixels are there");
    fuzz::require(image.width * image.height == info.size.width * info.size.height, "the size that was promised");
  });
  const std::string comment = exif_comment(text);
  fuzz::require(valid_utf8_prefix(comment) == comment.size(), "the comment is UTF-8", comment);
  const int orientation = exif_orientation(text);
  fuzz::require(orientation >= 1 && orientation <= 8, "one of eight orientations");
  exif_comment(exif_of_comment(text));
  return 0;
}
