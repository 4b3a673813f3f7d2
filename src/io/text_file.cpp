#include "io/text_file.h"

#include <cstdint>

#include "io/file_format.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {

using namespace std::string_view_literals;

void TextDecoder::refuse(std::string_view what) const {
  throw Error(Fault::input, concat(who_, ": is not text: ", what));
}

// What the first bytes say.
void TextDecoder::begin(bool end) {
  // A mark, or a picture's first bytes, may come in pieces; ASCII is a text at once.
  const bool open = rest_.empty() || static_cast<std::uint8_t>(rest_[0]) >= 0x80 || rest_[0] == 0;
  if (rest_.size() < 4 && !end && open) return;
  if (rest_.starts_with("\xFF\xFE\0\0"sv) || rest_.starts_with("\0\0\xFE\xFF"sv))
    refuse("it is in UTF-32; save it as UTF-8");
  encoding_ = Encoding::utf8;
  std::size_t mark = 0;
  if (rest_.starts_with("\xEF\xBB\xBF"sv)) mark = 3;
  if (rest_.starts_with("\xFF\xFE"sv)) encoding_ = Encoding::utf16le, mark = 2;
  if (rest_.starts_with("\xFE\xFF"sv)) encoding_ = Encoding::utf16be, mark = 2;
  rest_.erase(0, mark);
  if (const std::string_view format = format_of(rest_); mark == 0 && !format.empty()) refuse(concat("it is ", format));
}

void TextDecoder::append(char32_t c, std::string& text) {
  if (c == 0) refuse("it has NUL characters (UTF-16 without a byte order mark has them; save it as UTF-8)");
  if (!began_ && c != ' ' && c != '\t' && c != '\n' && c != '\r')
    began_ = true, programs_ends_alone_ = programs_ends_alone_ || c == '{';
  const bool second = after_return_ && c == '\n';
  after_return_ = c == '\r';
  if (second) return;
  const bool ends_line = c == '\r' || (!programs_ends_alone_ && (c == 0x85 || c == 0x2028 || c == 0x2029));
  append_utf8(text, ends_line ? U'\n' : c);
}

void TextDecoder::add_utf8(bool end, std::string& text) {
  std::size_t at = 0;
  while (at < rest_.size()) {
    const auto lead = static_cast<std::uint8_t>(rest_[at]);
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1;
    if (!end && rest_.size() - at < length) break;  // the rest of it may come
    const std::size_t begin = at;
    const char32_t c = next_character(rest_, at);
    if (c == kNoCharacter)
      text += rest_[begin], after_return_ = false;
    else
      append(c, text);
  }
  rest_.erase(0, at);
}

void TextDecoder::add_utf16(bool end, std::string& text) {
  const std::size_t low = encoding_ == Encoding::utf16le ? 0 : 1;
  const auto unit = [&](std::size_t at) {
    return char32_t(std::uint8_t(rest_[at + low])) | char32_t(std::uint8_t(rest_[at + 1 - low])) << 8;
  };
  std::size_t at = 0;
  for (; at + 2 <= rest_.size(); at += 2) {
    char32_t c = unit(at);
    if (c >= 0xD800 && c < 0xDC00) {  // the first half of a character beyond U+FFFF
      if (at + 4 > rest_.size() && !end) break;
      const char32_t second = at + 4 <= rest_.size() ? unit(at + 2) : 0;
      if (second >= 0xDC00 && second < 0xE000)
        c = 0x10000 + ((c - 0xD800) << 10) + (second - 0xDC00), at += 2;
      else
        c = kReplacement;
    } else if (c >= 0xDC00 && c < 0xE000) {
      c = kReplacement;
    }
    append(c, text);
  }
  rest_.erase(0, at);
  if (end && !rest_.empty()) refuse("it ends in the middle of a character of UTF-16");
}

void TextDecoder::add(std::string_view bytes, bool end, std::string& text) {
  rest_ += bytes;
  if (encoding_ == Encoding::unknown) begin(end);
  if (encoding_ == Encoding::unknown) return;
  encoding_ == Encoding::utf8 ? add_utf8(end, text) : add_utf16(end, text);
}

std::string decoded_text(std::string_view bytes, const std::string& who, LineEnds ends) {
  std::string text;
  TextDecoder(who, ends).add(bytes, /*end=*/true, text);
  return text;
}

}  // namespace sdgen
