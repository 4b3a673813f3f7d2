#include "cli/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "io/edit_distance.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {

std::string Argument::path() const {
  if (text_.empty()) wrong("a path");
  return in_home(text_);
}

const std::string& Argument::utf8() const {
  const std::size_t valid = valid_utf8_prefix(text_);
  if (valid == text_.size()) return text_;
  throw Error(Fault::usage, concat(flag_, ": the text is not UTF-8: byte ", valid, " of '", printable(text_, 60),
                                   "' begins no valid character (is the terminal or file in another encoding?)"));
}

std::uint64_t Argument::integer(std::uint64_t least, std::uint64_t most) const {
  std::uint64_t value = 0;
  const char* end = text_.data() + text_.size();
  const auto [stop, error] = std::from_chars(text_.data(), end, value, 10);  // takes no sign and no blanks
  const bool digits = stop == end && !text_.empty();
  if (digits && error == std::errc() && least <= value && value <= most) return value;
  wrong(concat("a whole number from ", least, " to ", most, ", in digits only"));
}

double Argument::real(double least, double most) const {
  double value = 0;
  const char* end = text_.data() + text_.size();
  const auto [stop, error] = std::from_chars(text_.data(), end, value);
  if (error == std::errc() && stop == end && std::isfinite(value) && least <= value && value <= most) return value;
  wrong(concat("a number from ", least, " to ", most));
}

const std::string& Argument::choice(const std::vector<std::string>& words) const {
  if (std::ranges::find(words, text_) != words.end()) return text_;
  wrong(concat("one of ", joined(words)));
}

void Argument::wrong(const std::string& expected) const {
  throw Error(Fault::usage, concat(flag_, ": '", printable(text_, 60), "' is not ", expected));
}

std::string shortest(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x).ptr};
}

std::string nearest(std::string_view word, const std::vector<std::string>& known, std::size_t most) {
  std::string best;
  std::size_t least = most + 1;
  for (const std::string& candidate : known) {
    if (const std::size_t distance = edit_distance(word, candidate); distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best = nearest(word, known, 1);
  if (!best.empty() || word.size() < 3) return best;
  for (const std::string& candidate : known)  // the shortest continuation
    if (candidate.starts_with(word) && (best.empty() || candidate.size() < best.size())) best = candidate;
  if (best.empty() && word.size() > 3) best = nearest(word, known, std::max<std::size_t>(2, word.size() / 3));
  if (!best.empty()) return best;
  for (const std::string& candidate : known)  // the longest beginning
    if (candidate.size() >= 3 && word.starts_with(candidate) && candidate.size() > best.size()) best = candidate;
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::string meant = nearest(word, known);
  return meant.empty() ? "" : concat("; did you mean ", meant, "?");
}

}  // namespace sdgen::cli
