// Numbers with the highest byte first, as picture formats have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sdgen {

// At most four bytes.
inline std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

inline void append_big_endian(std::string& out, std::uint32_t value, int bytes) {
  while (bytes-- > 0) out += static_cast<char>(value >> 8 * bytes & 0xFF);
}

}  // namespace sdgen
