// Any bytes are a picture of WebP, with texts or without, or are refused with Error(input).
#include "image/webp.h"
#include "picture.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  sdgen::fuzz::read_picture_of(sdgen::kWebp, sdgen::fuzz::text_of(bytes, size), 1 << 18);
  return 0;
}
