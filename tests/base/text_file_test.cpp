// Text as people's programs write it, and what is no text.
#include "io/text_file.h"

#include <gtest/gtest.h>

#include "base/scratch.h"
#include "io/file_format.h"

namespace sdgen {
namespace {

using namespace std::string_literals;

std::string utf16(const std::u16string& text, bool little) {
  std::string bytes = little ? "\xFF\xFE" : "\xFE\xFF";
  for (const char16_t unit : text) {
    const char low = static_cast<char>(unit & 255), high = static_cast<char>(unit >> 8);
    bytes += little ? std::string{low, high} : std::string{high, low};
  }
  return bytes;
}

// The same text however it is cut into pieces.
std::string decoded(const std::string& bytes) {
  const std::string whole = decoded_text(bytes, "x");
  for (std::size_t piece = 1; piece < 5; ++piece) {
    TextDecoder decoder("x");
    std::string text;
    for (std::size_t at = 0; at < bytes.size(); at += piece) decoder.add(bytes.substr(at, piece), false, text);
    decoder.add("", true, text);
    EXPECT_EQ(text, whole) << "in pieces of " << piece;
  }
  return whole;
}

TEST(TextFile, ByteOrderMarksAreHonoured) {
  EXPECT_EQ(decoded("a fox\n"), "a fox\n");
  EXPECT_EQ(decoded("\xEF\xBB\xBF"
                    "a fox\n"),
            "a fox\n");
  const std::u16string text = u"ä 狐 \U0001F98A\r\nb";
  for (const bool little : {true, false}) EXPECT_EQ(decoded(utf16(text, little)), "ä 狐 \U0001F98A\nb");
  EXPECT_EQ(decoded(""), "");
  EXPECT_EQ(decoded("a"), "a");
  // Halves of characters that stand alone.
  EXPECT_EQ(decoded(utf16(u"a\xD83Eé\xDD8A", true)), "a\uFFFDé\uFFFD");
}

TEST(TextFile, EveryLineEndIsOne) {
  EXPECT_EQ(decoded("a\nb\r\nc\rd\r\r\ne\n\rf"), "a\nb\nc\nd\n\ne\n\nf");
  EXPECT_EQ(decoded("a\u0085b\u2028c\u2029d"), "a\nb\nc\nd");
  EXPECT_EQ(decoded_text("[\"a\u2028b\"]", "x", LineEnds::of_programs), "[\"a\u2028b\"]");
  EXPECT_EQ(decoded(" {\"prompt\":\"a\u2028b\"}\r\n"), " {\"prompt\":\"a\u2028b\"}\n") << "JSON has them inside texts";
}

// What a pipe has sent so far is read: nobody waits for the next line's beginning.
TEST(TextFile, AWholeLineNeedsNothingAfterIt) {
  for (const std::string line : {"a\n", "caf\u00e9\n", "\u00e9\n", "\u72d0\n", "\U0001F98A\n"}) {
    TextDecoder decoder("x");
    std::string text;
    decoder.add("abc\n", false, text);
    decoder.add(line, false, text);
    EXPECT_EQ(text, "abc\n" + line);
  }
  TextDecoder decoder("x");
  std::string text;
  decoder.add("a\n", false, text);
  EXPECT_EQ(text, "a\n");
}

TEST(TextFile, WhatIsNotUtf8IsLeftToTheLines) { EXPECT_EQ(decoded("caf\xE9 \xC3\nb\xFF"), "caf\xE9 \xC3\nb\xFF"); }

TEST(TextFile, WhatIsNoTextIsRefused) {
  const auto refusal = [](const std::string& bytes) {
    return message_of(Fault::input, [&] { decoded_text(bytes, "list.txt"); });
  };
  EXPECT_EQ(refusal("\x89PNG\r\n\x1A\n..."), "list.txt: is not text: it is a PNG picture");
  EXPECT_CONTAINS(refusal("PK\x03\x04..."), "ZIP archive (.zip, .xlsx");
  EXPECT_CONTAINS(refusal("\xFF\xFE\0\0a\0\0\0"s), "UTF-32");
  EXPECT_CONTAINS(refusal("a\0 \0f\0o\0x\0"s), "UTF-16 without a byte order mark");
  EXPECT_CONTAINS(refusal("a fox\nand\0a dog"s), "NUL");
  EXPECT_CONTAINS(refusal("\xFF\xFE"
                          "a\0b"s),
                  "in the middle of a character");
}

TEST(FileFormat, IsKnownByTheFirstBytes) {
  for (const auto& [bytes, format] : {std::pair{"RIFF\x10\0\0\0WEBPVP8 "s, "a WebP picture"},
                                      {"RIFF\x10\0\0\0WAVEfmt "s, ""},
                                      {"\0\0\0\x20"
                                       "ftypavif\0\0\0\0"s,
                                       "an AVIF picture"},
                                      {"\0\0\0\x20"
                                       "ftypmif1\0\0\0\0avif"s,
                                       "an AVIF picture"},
                                      {"\0\0\0\x20"
                                       "ftypheic\0\0\0\0mif1"s,
                                       "a HEIC picture"},
                                      {"GIF89a"s, "a GIF picture"},
                                      {"BM\x36\0\0\0\0\0\0\0"s, "a BMP picture"},
                                      {"II*\0\x08"s, "a TIFF picture"},
                                      {"\xFF\x0A\xFF"s, "a JPEG XL picture"},
                                      {"\x10\0\0\0\0\0\0\0{\"a\":"s, "a safetensors file of weights"}})
    EXPECT_EQ(format_of(bytes), format) << format;
  // Words that begin like a picture.
  for (const char* prompt : {"BMW in the rain", "GGUF, the movie", "II* with stars", "MM", "a", "",
                             "RIFF and raff, WEBP", "PK, a cat", "GIF of a dog, 8 frames"})
    EXPECT_EQ(format_of(prompt), "") << prompt;
}

}  // namespace
}  // namespace sdgen
