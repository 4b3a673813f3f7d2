#include "image/jpeg.h"

#include <gtest/gtest.h>

#include <random>

#include "base/scratch.h"
#include "image/picture.h"
#include "io/utf8.h"

namespace sdgen {
namespace {

using namespace std::string_literals;

std::string segment(char marker, const std::string& data) {
  const std::size_t size = data.size() + 2;
  return "\xFF"s + marker + static_cast<char>(size >> 8) + static_cast<char>(size & 255) + data;
}

std::string big(std::uint32_t value, int bytes) {
  std::string out;
  while (bytes-- > 0) out += static_cast<char>(value >> 8 * bytes & 255);
  return out;
}

// As piexif, which A1111 uses, lays it out: one directory that points at the Exif directory, big-endian.
std::string exif(const std::string& comment) {
  return "Exif\0\0MM\0*"s + big(8, 4) + big(1, 2) + big(0x8769, 2) + big(4, 2) + big(1, 4) + big(26, 4) + big(0, 4) +
         big(1, 2) + big(0x9286, 2) + big(7, 2) + big(comment.size(), 4) + big(44, 4) + big(0, 4) + comment;
}

std::string jpeg(const std::string& segments) {
  return "\xFF\xD8"s + segments + segment('\xC0', "\x08"s + big(48, 2) + big(64, 2) + "\x01\x01\x11\0"s) +
         "\xFF\xDA\0\x02"s;
}

class JpegTest : public testing::Test {
 protected:
  JpegInfo info(const std::string& bytes) const { return jpeg_info(bytes, "x.jpg"); }
  std::string refusal(const std::string& bytes) const {
    return message_of(Fault::input, [&] { info(bytes); });
  }
  Scratch scratch_;
};

TEST_F(JpegTest, TellsSizeAndComment) {
  EXPECT_EQ(info(jpeg("")).size, (Size{64, 48}));
  EXPECT_EQ(info(jpeg("")).comment, "");
  EXPECT_EQ(info(jpeg(segment('\xE1', exif("UNICODE\0\0a\0\n\x82\xF9\xD8\x3D\xDE\x00"s)))).comment, "a\n苹😀");
  EXPECT_EQ(info(jpeg(segment('\xE1', exif("UNICODE\0a\0b\0"s)))).comment, "ab");  // little-endian against the rule
  EXPECT_EQ(info(jpeg(segment('\xE1', exif("ASCII\0\0\0a fox\0"s)))).comment, "a fox");
  EXPECT_EQ(info(jpeg(segment('\xE1', exif("UNICODE\0\0a\xD8\x3D"s)))).comment, "a\xEF\xBF\xBD");
  EXPECT_EQ(info(jpeg("\xFF\xFF"s + segment('\xE0', "JFIF"))).size, (Size{64, 48}));  // a filling byte
}

std::string written(const JpegTexts& texts, std::vector<std::string>* warnings = nullptr) {
  Image image{33, 17, {}};
  for (int i = 0; i < 33 * 17 * 3; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i * 7));
  const auto bytes = encode_jpeg(image, texts, [&](const std::string& w) {
    if (warnings) warnings->push_back(w);
  });
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(JpegTest, KeepsTheWordsThatWereWritten) {
  const std::string text = "a, \"b\": 一一一一一一一一一一一一一一一一一一一一\n红 🦊 é\0\xFF"s;
  const JpegInfo found = info(written({text, "{\"sdgen\":1}"}));
  EXPECT_EQ(found.size, (Size{33, 17}));
  EXPECT_EQ(found.components, 3);
  EXPECT_EQ(
      info(written({"Steps: 2\n" + text, ""})).comment,
      "Steps: 2\na, \"b\": 一一一一一一一一一一一一一一一一一一一一\n红 🦊 é\uFFFD\uFFFD");
  EXPECT_EQ(found.remarks, std::vector<std::string>{"{\"sdgen\":1}"});
  EXPECT_EQ(info(written({})).comment, "");
  EXPECT_TRUE(info(written({})).remarks.empty());
  EXPECT_TRUE(written({text, "x"}).substr(6).starts_with("JFIF")) << "which comes first";
}

// Of a character beyond U+FFFF each half has ten bits.
TEST_F(JpegTest, CharactersAreWholeInEveryBit) {
  for (const char* text :
       {"\U0001F600", "\U0001FBFF", "\U0010FFFF", "\U00010000", "\uFFFF", "\uD7FF", "\u0800", "\u07FF"})
    EXPECT_EQ(info(written({"Steps: "s + text, ""})).comment, "Steps: "s + text);
}

TEST_F(JpegTest, AWordThatGoesBeyondItsBlockIsNone) {
  const std::string whole = exif("ASCII\0\0\0a fox, quick and brown"s);
  EXPECT_EQ(info(jpeg(segment('\xE1', whole))).comment, "a fox, quick and brown");
  EXPECT_EQ(info(jpeg(segment('\xE1', whole.substr(0, whole.size() - 1)))).comment, "");
}

TEST_F(JpegTest, WordsThatDoNotFitCostNoPicture) {
  std::vector<std::string> warnings;
  const std::size_t most = 65533, exif = (most - 6 - 44 - 8) / 2;
  EXPECT_EQ(info(written({std::string(exif, 'x'), std::string(most, 'y')}, &warnings)).comment.size(), exif);
  EXPECT_TRUE(warnings.empty());
  const JpegInfo found = info(written({std::string(exif + 1, 'x'), std::string(most + 1, 'y')}, &warnings));
  EXPECT_EQ(found.comment, "");
  EXPECT_TRUE(found.remarks.empty());
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_CONTAINS(warnings[0], "the prompt and settings in its EXIF block take 65534 bytes");
}

TEST_F(JpegTest, RefusesImpossiblePictures) {
  EXPECT_NE(message_of(Fault::internal, [] { encode_jpeg({2, 2, {1}}, {}, {}); }), "");
  EXPECT_NE(message_of(Fault::internal, [] { encode_jpeg({}, {}, {}); }), "");
}

TEST_F(JpegTest, ReadsAFewRemarks) {
  std::string many;
  for (int i = 0; i < 20; ++i) many += segment('\xFE', std::to_string(i));
  EXPECT_EQ(info(jpeg(many)).remarks.size(), 16u);
}

TEST_F(JpegTest, RefusesDamagedFiles) {
  EXPECT_CONTAINS(refusal("GIF89a"), "is not a JPEG file");
  EXPECT_CONTAINS(refusal("\xFF\xD8\xFF"), "ends before its pixels");
  EXPECT_CONTAINS(refusal("\xFF\xD8" + segment('\xE0', "x") + "abcdef"), "malformed segment at byte 7");
  EXPECT_CONTAINS(refusal("\xFF\xD8" + segment('\xE0', "x") + "\xFF\xDA\0\x02"s), "how many pixels");
  const std::string whole = jpeg("");
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
}

// Wherever the decoder would find it: before the pixels, after them, cut off by the end; and not where it is not a
// table.
TEST_F(JpegTest, RefusesHuffmanTablesThatAreTooLong) {
  const std::string whole = written({"words", ""}), good = "\x13"s + std::string(15, '\0') + "\x01\x07"s;
  const std::string bad = "\x13"s + std::string(14, '\0') + "\x81\x80"s + std::string(257, '\0');
  const auto read = [&](const std::string& bytes) { return read_picture(scratch_.write("x.jpg", bytes)); };
  const auto with = [&](const std::string& data, std::size_t at) {
    return whole.substr(0, at) + segment('\xC4', data) + whole.substr(at);
  };
  const std::size_t before = whole.find("\xFF\xDA"), behind = whole.rfind("\xFF\xD9");
  const Image right = read(whole);
  for (const std::size_t at : {before, behind}) {
    EXPECT_CONTAINS(message_of(Fault::input, [&] { read(with(bad, at)); }), "Bogus Huffman table");
    EXPECT_CONTAINS(message_of(Fault::input, [&] { read(with(good + bad, at)); }), "Bogus Huffman table");
    EXPECT_EQ(read(with(good, at)).rgb, right.rgb);
  }
  const std::string cut = with(bad, before).substr(0, before + 4 + 17);
  EXPECT_NE(message_of(Fault::input, [&] { read(cut); }), "");
  EXPECT_EQ(read(whole.substr(0, 2) + segment('\xEC', "\xFF\xC4\0\x20" + bad) + whole.substr(2)).rgb, right.rgb);
}

TEST_F(JpegTest, SurvivesMutations) {
  const std::string whole = jpeg(segment('\xE1', exif("UNICODE\0\0a\0b\x82\xF9"s)));
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (int i = 0; i <= round % 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    try {
      const JpegInfo found = info(bytes);
      EXPECT_EQ(valid_utf8_prefix(found.comment), found.comment.size());
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::input) << error.what();
    }
  }
}

}  // namespace
}  // namespace sdgen
