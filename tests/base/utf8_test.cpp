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

}  // namespace
}  // namespace sdgen
