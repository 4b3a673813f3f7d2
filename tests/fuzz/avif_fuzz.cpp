// Any bytes are a picture of AVIF, with texts or without, or are refused with Error(input).
#include "image/avif.h"
#include "picture.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  sdgen::fuzz::read_picture_of(sdgen::kAvif, sdgen::fuzz::text_of(bytes, size), 1 << 16);
  return 0;
}
