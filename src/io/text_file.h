// Text that people's programs write, as UTF-8 with one kind of line end.
#pragma once

#include <string>
#include <string_view>

namespace sdgen {

// Text that comes in pieces. A byte order mark says UTF-8 or UTF-16; without one it is UTF-8, whose faults are left to
// whoever reads the lines. CR LF and CR become LF, and so do, in lists of words, Unicode's own line ends (U+0085,
// U+2028, U+2029).
enum class LineEnds {
  of_programs,  // CR, LF and CR LF alone: in JSON and TOML the others are characters like others
  unless_json,  // all, unless the text begins with "{"
};
class TextDecoder {
 public:
  // `who` is named in errors.
  explicit TextDecoder(std::string who, LineEnds ends = LineEnds::unless_json)
      : who_(std::move(who)), programs_ends_alone_(ends == LineEnds::of_programs) {}

  // Appends what `bytes` are to `text`; `end`: nothing more comes. Throws Error(input) for what is no text: another
  // format by its first bytes, UTF-32, NUL, an odd number of UTF-16's bytes.
  void add(std::string_view bytes, bool end, std::string& text);

 private:
  enum class Encoding { unknown, utf8, utf16le, utf16be };
  void begin(bool end);
  void add_utf8(bool end, std::string& text);
  void add_utf16(bool end, std::string& text);
  void append(char32_t c, std::string& text);
  [[noreturn]] void refuse(std::string_view what) const;

  std::string who_;
  std::string rest_;  // bytes that are not whole yet
  Encoding encoding_ = Encoding::unknown;
  bool after_return_ = false;                 // a CR has ended a line: an LF that follows does not
  bool began_ = false, programs_ends_alone_;  // are Unicode's line ends characters?
};

// The whole of a text.
std::string decoded_text(std::string_view bytes, const std::string& who, LineEnds ends = LineEnds::unless_json);

}  // namespace sdgen
