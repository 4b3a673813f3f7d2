// Any bytes are a PNG file with texts in valid UTF-8, or are refused with Error(input).
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "io/png.h"
#include "io/utf8.h"
#include "memory_file.h"
#include "sdgen/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const MemoryFile memory({bytes, size});
  try {
    for (const sdgen::PngText& entry : sdgen::read_png_text(memory.path())) {
      if (sdgen::valid_utf8_prefix(entry.text) != entry.text.size()) std::abort();
    }
  } catch (const sdgen::Error& error) {
    if (error.fault() != sdgen::Fault::input) std::abort();
  }
  return 0;
}
