// Any bytes are a packet of XMP that says something valid, or say nothing.
#include "fuzz.h"
#include "image/xmp.h"

using namespace sdgen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const XmpTexts found = read_xmp(fuzz::text_of(bytes, size));
  fuzz::require(valid_utf8_prefix(found.source_type) == found.source_type.size(), "UTF-8", found.source_type);
  fuzz::require(valid_utf8_prefix(found.record) == found.record.size(), "UTF-8", found.record);
  return 0;
}
