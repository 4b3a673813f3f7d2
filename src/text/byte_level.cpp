#include "text/byte_level.h"

#include "io/utf8.h"

namespace sdgen {

std::array<std::string, 256> byte_alphabet() {
  std::array<std::string, 256> alphabet;
  char32_t free = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    append_utf8(alphabet[static_cast<std::size_t>(byte)], printable ? static_cast<char32_t>(byte) : free++);
  }
  return alphabet;
}

}  // namespace sdgen
