#include "io/utf8.h"

#include <algorithm>
#include <cstdint>

namespace sdgen {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t i) { return static_cast<std::uint8_t>(text[i]); }

// Length of the valid character that begins at text[i], 0 if there is none (Unicode 15, table 3-7).
std::size_t character_length(std::string_view text, std::size_t i) {
  const std::uint8_t lead = byte_at(text, i);
  if (lead < 0x80) return 1;
  std::size_t length = 0;
  std::uint8_t low = 0x80, high = 0xBF;  // limits of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // overlong
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;   // overlong
    if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
  } else {
    return 0;
  }
  if (text.size() - i < length) return 0;
  for (std::size_t k = 1; k < length; ++k, low = 0x80, high = 0xBF) {
    if (byte_at(text, i + k) < low || byte_at(text, i + k) > high) return 0;
  }
  return length;
}

void append_hex_escape(std::string& out, std::uint8_t byte) {
  static constexpr char digits[] = "0123456789abcdef";
  out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
}

}  // namespace

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t length = character_length(text, i);
    if (length == 0) break;
    i += length;
  }
  return i;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_length(text, i);
    out += length == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(i, length);
    i += length == 0 ? 1 : length;
  }
  return out;
}

std::optional<std::string> latin1_from_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_length(text, i);
    const std::uint8_t lead = byte_at(text, i);
    if (length == 1) {
      out += text[i];
    } else if (length == 2 && lead <= 0xC3) {
      out += static_cast<char>((lead & 0x03) << 6 | (byte_at(text, i + 1) & 0x3F));
    } else {
      return std::nullopt;
    }
    i += length;
  }
  return out;
}

std::string utf8_from_latin1(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0 | byte >> 6);
      out += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return out;
}

namespace {

// Characters that turn the direction of the text after them (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to
// U+2069): a name with them could make a message say something else.
bool turns_direction(std::string_view character) {
  if (character == "\xD8\x9C") return true;
  if (character.size() != 3 || !character.starts_with("\xE2")) return false;
  const std::string_view rest = character.substr(1);
  return (rest >= "\x80\x8E" && rest <= "\x80\x8F") || (rest >= "\x80\xAA" && rest <= "\x80\xAE") ||
         (rest >= "\x81\xA6" && rest <= "\x81\xA9");
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (out.size() >= max_bytes) return out + "...";
    const std::size_t length = character_length(text, i);
    const std::uint8_t lead = byte_at(text, i);
    const bool c1_control = length == 2 && lead == 0xC2 && byte_at(text, i + 1) < 0xA0;
    const bool control = lead < 0x20 || lead == 0x7F || c1_control || turns_direction(text.substr(i, length));
    if (length == 0 || control) {
      for (std::size_t k = 0; k < (length == 0 ? 1 : length); ++k) append_hex_escape(out, byte_at(text, i + k));
    } else {
      out += text.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out;
}

std::string printable_lines(std::string_view text, std::size_t max_bytes) {
  std::string out;
  while (!text.empty() && out.size() < max_bytes) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out += printable(text.substr(0, end), max_bytes - out.size());
    if (end < text.size()) out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace sdgen
