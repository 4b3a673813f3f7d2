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

// Characters that turn the direction of the text after them: a name with them could make a message say something else.
bool turns_direction(char32_t c) {
  return c == 0x61C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

bool is_control(char32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0) || turns_direction(c); }

}  // namespace

char32_t next_character(std::string_view text, std::size_t& at) {
  const std::size_t length = character_length(text, at);
  if (length == 0) {
    ++at;
    return kNoCharacter;
  }
  char32_t c = byte_at(text, at++);
  if (length == 1) return c;
  c &= 0x7Fu >> length;
  for (std::size_t k = 1; k < length; ++k) c = c << 6 | (byte_at(text, at++) & 0x3F);
  return c;
}

char32_t previous_character(std::string_view text, std::size_t& end) {
  constexpr std::size_t longest = 4;
  for (std::size_t begin = end; begin > 0 && end - begin < longest;) {
    const std::size_t first = --begin;
    std::size_t after = first;
    if (const char32_t c = next_character(text, after); after == end && c != kNoCharacter) {
      end = first;
      return c;
    }
  }
  --end;
  return kNoCharacter;
}

void append_utf8(std::string& out, char32_t c) {
  const auto add = [&out](char32_t byte) { out += static_cast<char>(byte); };
  const auto tail = [&add, c](int shift) { add(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6), tail(0);
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12), tail(6), tail(0);
  } else {
    add(0xF0 | c >> 18), tail(12), tail(6), tail(0);
  }
}

std::size_t valid_utf8_prefix(std::string_view text) {
  for (std::size_t at = 0, begin = 0; at < text.size(); begin = at)
    if (next_character(text, at) == kNoCharacter) return begin;
  return text.size();
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    append_utf8(out, c == kNoCharacter ? kReplacement : c);
  }
  return out;
}

std::optional<std::string> latin1_from_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c > 0xFF) return std::nullopt;
    out += static_cast<char>(c);
  }
  return out;
}

std::string utf8_from_latin1(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) append_utf8(out, static_cast<std::uint8_t>(c));
  return out;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  for (std::size_t at = 0, begin = 0; at < text.size(); begin = at) {
    if (out.size() >= max_bytes) return out + "...";
    const char32_t c = next_character(text, at);
    if (c != kNoCharacter && !is_control(c)) {
      out += text.substr(begin, at - begin);
    } else {
      for (const char byte : text.substr(begin, at - begin)) append_hex_escape(out, static_cast<std::uint8_t>(byte));
    }
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
