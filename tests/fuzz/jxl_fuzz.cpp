// Any bytes are a picture of JPEG XL, with texts or without, or are refused with Error(input).
#include "image/jxl.h"
#include "picture.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  sdgen::fuzz::read_picture_of(sdgen::kJxl, sdgen::fuzz::text_of(bytes, size), 1 << 14);
  return 0;
}
