#include "text/unicode.h"

#include <unicode/brkiter.h>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utext.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::unicode {
namespace {

void check(UErrorCode status, const char* what) {
  if (U_FAILURE(status)) throw Error(Fault::internal, concat("ICU: ", what, ": ", u_errorName(status)));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
}

// Composition that leaves alone what Unicode 9 had not assigned: as if those characters had no canonical properties.
class Composer {
 public:
  Composer() : normalizer_(nfc(), known()) {}
  const icu::Normalizer2& operator*() const { return normalizer_; }

 private:
  static const icu::Normalizer2& nfc() {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* instance = icu::Normalizer2::getNFCInstance(status);
    check(status, "NFC");
    return *instance;
  }
  const icu::UnicodeSet& known() {
    UErrorCode status = U_ZERO_ERROR;
    known_.applyPattern("[:Age=9.0:]", status);
    check(status, "[:Age=9.0:]");
    known_.freeze();
    return known_;
  }

  icu::UnicodeSet known_;
  icu::FilteredNormalizer2 normalizer_;  // refers to known_
};

// Beyond the punctuation and letters that have the property too.
bool is_emoji(char32_t c) {
  return c >= 0x2190 && u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC) != 0;
}

// Where ICU ends words, and what is between them.
std::vector<std::size_t> word_boundaries(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> iterator(
      icu::BreakIterator::createWordInstance(icu::Locale::getRoot(), status));
  check(status, "words");
  UText utf8 = UTEXT_INITIALIZER;
  utext_openUTF8(&utf8, text.data(), static_cast<int64_t>(text.size()), &status);
  check(status, "UTF-8 text");
  iterator->setText(&utf8, status);
  std::vector<std::size_t> ends;
  if (U_SUCCESS(status)) {
    for (int32_t end = iterator->next(); end != icu::BreakIterator::DONE; end = iterator->next()) {
      ends.push_back(static_cast<std::size_t>(end));
    }
  }
  utext_close(&utf8);
  check(status, "words of a prompt");
  return ends;
}

}  // namespace

void require_utf8(std::string_view text) {
  const std::size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return;
  static constexpr char digits[] = "0123456789ABCDEF";
  const auto bad = static_cast<std::uint8_t>(text[valid]);
  throw Error(Fault::usage, concat("prompt: byte ", valid, " of ", text.size(), " (0x", digits[bad >> 4],
                                   digits[bad & 15], ") is not valid UTF-8: the text is cut or in another encoding"));
}

bool is_letter(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; }
bool is_number(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0; }
bool is_ideograph(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_IDEOGRAPHIC) != 0; }
bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }

bool is_word(char32_t code_point) {
  const auto c = static_cast<UChar32>(code_point);
  return u_isUAlphabetic(c) || (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

void append_lower(std::string& out, char32_t c) {
  // The only code point whose full mapping, without context, is longer than the simple one (SpecialCasing.txt).
  if (c == 0x130) {
    out += "i\xCC\x87";
  } else {
    append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  }
}

std::string lower(std::string_view text) {
  require_utf8(text);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode status = U_ZERO_ERROR;
  icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                            status);
  check(status, "lower case of a prompt");
  return out;
}

std::string_view stripped(std::string_view text) {
  const auto is_blank = [](char32_t c) { return is_space(c) || (c >= 0x1C && c <= 0x1F); };
  std::size_t begin = text.size(), end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t first = at;
    if (is_blank(next_character(text, at))) continue;
    begin = std::min(begin, first);
    end = at;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

std::string compose(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  static const Composer composer;
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode status = U_ZERO_ERROR;
  (*composer).normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  check(status, "NFC of a prompt");
  return out;
}

std::vector<Word> words(std::string_view text) {
  std::vector<Word> found;
  if (valid_utf8_prefix(text) != text.size()) return found;
  std::size_t begin = 0;
  for (const std::size_t end : word_boundaries(text)) {
    bool counts = false;
    for (std::size_t at = begin; at < end && !counts;) {
      const char32_t c = next_character(text, at);
      counts = is_letter(c) || is_number(c) || is_emoji(c);
    }
    if (counts) found.push_back({begin, end});
    begin = end;
  }
  return found;
}

}  // namespace sdgen::unicode
