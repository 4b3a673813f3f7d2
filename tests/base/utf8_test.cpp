#include "io/utf8.h"

#include <gtest/gtest.h>

namespace sdgen {
namespace {

TEST(Utf8, FindsTheValidPrefix) {
  for (const char* valid : {"", "a", "é", "苹果", "🍎", "\u07ff\u0800\ud7ff\ue000\uffff", "\U00010000\U0010ffff"}) {
    EXPECT_EQ(valid_utf8_prefix(valid), std::string_view(valid).size()) << valid;
  }
  for (const char* invalid : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
                              "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe8\x8b",
                              "\xf0\x9f\x8d", "\xc3(", "\xe8(\x8b", "\xf0\x9f(\x8d"}) {
    EXPECT_EQ(valid_utf8_prefix("é" + std::string(invalid)), 2u);
  }
}

TEST(Utf8, RepairsOnlyWhatIsBroken) {
  EXPECT_EQ(repair_utf8("a\xff苹\xe8\x8b"), "a\uFFFD苹\uFFFD\uFFFD");
  EXPECT_EQ(repair_utf8("一只红苹果 🍎"), "一只红苹果 🍎");
}

TEST(Utf8, ConvertsLatin1BothWays) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(latin1_from_utf8(utf8_from_latin1(all)), all);
  EXPECT_EQ(utf8_from_latin1("caf\xe9"), "café");
  EXPECT_EQ(latin1_from_utf8("Ā"), std::nullopt);
  EXPECT_EQ(latin1_from_utf8("a苹"), std::nullopt);
}

TEST(Utf8, MakesTextPrintable) {
  EXPECT_EQ(printable("a\x1b[31m\n\x7f苹\xff"), "a\\x1b[31m\\x0a\\x7f苹\\xff");
  EXPECT_EQ(printable("\u009b"), "\\xc2\\x9b") << "a C1 control starts an escape sequence, too";
  EXPECT_EQ(printable("a\u202Eb\u2066\u061C \u200Dc"), "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6\\xd8\\x9c \u200Dc")
      << "turned text";
  EXPECT_EQ(printable("aaaaaa", 3), "aaa...");
  EXPECT_EQ(printable("苹果", 3), "苹...");
  EXPECT_EQ(printable_lines("a\x1b[31m\n\xff\n", 100), "a\\x1b[31m\n\\xff\n");
  EXPECT_EQ(printable_lines("aaa\naaa", 5), "aaa\na...");
}

std::pair<std::u32string, std::u32string> both_ways(std::string_view text) {
  std::u32string forward, backward;
  for (std::size_t at = 0; at < text.size();) forward += next_character(text, at);
  for (std::size_t at = text.size(); at > 0;) backward += previous_character(text, at);
  return {forward, {backward.rbegin(), backward.rend()}};
}

TEST(Utf8, StepsBothWays) {
  const std::u32string ends = U"\x7F\x80\x7FF\x800\xD7FF\xE000\xFFFF\U00010000\U0010FFFF";
  std::string text;
  for (const char32_t c : ends) append_utf8(text, c);
  EXPECT_EQ(text, "\x7F\u0080\u07FF\u0800\uD7FF\uE000\uFFFF\U00010000\U0010FFFF");
  EXPECT_EQ(both_ways(text), std::pair(ends, ends));
}

TEST(Utf8, StepsOverEachByteThatIsNoCharacter) {
  const std::u32string bad(1, kNoCharacter);
  for (const auto& [text, characters] :
       {std::pair<std::string, std::u32string>{"a\xC3z", U"a" + bad + U"z"},
        {"\xE2\x82", bad + bad},                                // cut
        {"\xC0\x80\xED\xA0\x80", bad + bad + bad + bad + bad},  // overlong, a surrogate
        {"\x80\u00e9\xF4\x90\x80\x80", bad + U"\u00e9" + bad + bad + bad + bad}})
    EXPECT_EQ(both_ways(text), std::pair(characters, characters)) << printable(text);
}

}  // namespace
}  // namespace sdgen
