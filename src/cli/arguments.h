// The value of one flag: its text, and strict readers of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen::cli {

// The value of one option. Every reader throws Error(usage) that names the flag, the text and what was expected.
class Argument {
 public:
  Argument(std::string flag, std::string text) : flag_(std::move(flag)), text_(std::move(text)) {}

  const std::string& flag() const { return flag_; }  // its long name: "--width"
  const std::string& raw() const { return text_; }   // any bytes

  // The name of a file or folder: any bytes, but some; see in_home().
  std::string path() const;

  // Valid UTF-8.
  const std::string& utf8() const;
  // A whole number in base 10, digits only: no sign, no blanks, no exponent, no 0x. Leading zeros change nothing.
  std::uint64_t integer(std::uint64_t least, std::uint64_t most) const;
  // A finite decimal number, least <= x <= most; "7", "7.5", "-1", "1e-3".
  double real(double least, double most) const;
  // One of a few words.
  const std::string& choice(const std::vector<std::string>& words) const;

  [[noreturn]] void wrong(const std::string& expected) const;

 private:
  std::string flag_;
  std::string text_;
};

// The shortest decimal that reads back as `x`: 7, 7.5.
std::string shortest(double x);

// The word of `known` that `word` was probably meant to be; empty when none is near. Near, the surest first: one edit
// (Damerau's: insert, delete, replace, swap neighbours); it begins so; a few edits, at most a third of the word's
// length; it is the beginning of `word`.
std::string nearest(std::string_view word, const std::vector<std::string>& known);
// The one that is the fewest edits away, if that is at most `most`; empty: there is none.
std::string nearest(std::string_view word, const std::vector<std::string>& known, std::size_t most);

// ", did you mean WORD?" or nothing: the end of an error message.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace sdgen::cli
