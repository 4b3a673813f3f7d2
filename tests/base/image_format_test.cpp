// What every format of picture files has to keep: texts, sizes, pixels, bytes.
#include "image/image_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ostream>
#include <random>

#include "base/scratch.h"
#include "image/picture.h"
#include "image/xmp.h"
#include "io/file_format.h"
#include "io/safetensors.h"
#include "io/utf8.h"

namespace sdgen {

void PrintTo(const ImageFormat* format, std::ostream* out) { *out << format->word; }

namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;

const fs::path kImages = fs::path(SDGEN_FIXTURES) / "images";

// Waves, which every encoder keeps well.
Image waves(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (const int value : {x * 2 + y, 255 - x - y * 2, 128 + x - y})
        image.rgb.push_back(static_cast<std::uint8_t>(std::clamp(value, 0, 255)));
  return image;
}

double mean_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  double sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(a.rgb[i] - b.rgb[i]);
  return sum / static_cast<double>(a.rgb.size());
}

int largest_difference_of(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

class EachFormat : public testing::TestWithParam<const ImageFormat*> {
 protected:
  std::string encoded(const Image& image, const PictureTexts& texts = {}, std::optional<int> quality = {}) const {
    const auto bytes = format_.encode(image, texts, {quality, [](const std::string& what) { FAIL() << what; }});
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  const ImageFormat& format_ = *GetParam();
  const Image image_ = waves(57, 43);
};

INSTANTIATE_TEST_SUITE_P(Formats, EachFormat, testing::ValuesIn(image_formats().begin(), image_formats().end()),
                         [](const auto& format) { return std::string(format.param->word); });

TEST_P(EachFormat, IsKnownByItsBytesAndItsName) {
  EXPECT_EQ(image_format_of(encoded(image_)), &format_);
  EXPECT_EQ(image_format_of(encoded(image_, {"a", R"({"sdgen":"1"})", std::string(kMadeByModel)})), &format_);
  EXPECT_EQ(image_format_of_ending(format_.ending), &format_);
  EXPECT_NE(format_.version ? format_.version() : "1", "");
}

TEST_P(EachFormat, KeepsTextsOfEveryKind) {
  PictureTexts texts{"a, \"b\": 一\n红 🦊 é <&>\nSteps: 2, Seed: 1, Size: 1x1",
                     R"({"sdgen":"1","prompt":"\u4e00 <&> ]]>"})", std::string(kMadeByModel)};
  for (const bool words : {true, false})
    for (const bool mark : {true, false}) {
      if (!words) texts.parameters = texts.record = "";
      texts.source_type = mark ? kMadeByModel : "";
      const std::string bytes = encoded(image_, texts);
      const PictureTexts found = picture_texts(bytes, "x");
      EXPECT_EQ(found.parameters, texts.parameters);
      EXPECT_EQ(found.record, texts.record);
      EXPECT_EQ(found.source_type, texts.source_type);
      EXPECT_EQ(bytes.find("DigitalSourceType") != bytes.npos, mark);
      EXPECT_EQ(bytes.find("sdgen") != bytes.npos, words);
      const auto record = std::ranges::find(found.others, kRecordKeyword, &PictureText::keyword);
      ASSERT_EQ(record != found.others.end(), words);
      if (words) {
        EXPECT_EQ(record->text, texts.record);
      }
    }
}

TEST_P(EachFormat, LongTextsAreWholeWherePngsAre) {
  if (format_.word == "jpeg") return;  // JpegTest.WordsThatDoNotFitCostNoPicture
  const std::string word(200'000, 'x');
  const PictureTexts found = picture_texts(encoded(image_, {word, "{\"sdgen\":\"" + word + "\"}"}), "x");
  EXPECT_EQ(found.parameters, word);
  EXPECT_EQ(found.record.size(), word.size() + 12);
}

TEST_P(EachFormat, KeepsPixels) {
  for (const Size size : {Size{57, 43}, {1, 1}, {1, 90}, {64, 64}}) {
    const Image image = waves(size.width, size.height);
    const std::string bytes = encoded(image, {"words", "", std::string(kMadeByModel)});
    const Image read = decode_picture(bytes, "x");
    EXPECT_LT(mean_difference(read, image), format_.quality == 0 ? 1e-9 : 1.5) << size.width;
    EXPECT_EQ(bytes, encoded(image, {"words", "", std::string(kMadeByModel)})) << "equal requests, equal bytes";
  }
}

// Grain is hard on an encoder that loses something: what it keeps tells its default quality.
TEST_P(EachFormat, KeepsGrain) {
  const Image photo = read_picture(kImages / "rgb16.png");
  const double off = mean_difference(decode_picture(encoded(photo), "x"), photo);
  EXPECT_LT(off, format_.quality == 0 ? 1e-9 : 5) << format_.word;
}

TEST_P(EachFormat, QualityIsABargain) {
  if (!format_.takes_quality) return;
  const Image photo = read_picture(kImages / "rgb16.png");
  std::size_t size = 0;
  double difference = 256;
  for (const int quality : {10, 40, 70, 95}) {
    const std::string bytes = encoded(photo, {}, quality);
    const double off = mean_difference(decode_picture(bytes, "x"), photo);
    EXPECT_GT(bytes.size(), size) << quality;
    EXPECT_LT(off, difference) << quality;
    size = bytes.size();
    difference = off;
  }
  if (format_.word != "avif" && format_.word != "jxl") return;
  EXPECT_EQ(decode_picture(encoded(image_, {}, 100), "x").rgb, image_.rgb) << "100 loses nothing";
}

TEST_P(EachFormat, RefusesImpossiblePictures) {
  for (const Image& image : {Image{2, 2, {1}}, Image{}})
    EXPECT_CONTAINS(message_of(Fault::internal, [&] { encoded(image); }), concat("written as ", format_.name));
}

// Cut anywhere, or with any byte changed, a file is refused or still a picture, in bounded time and memory.
TEST_P(EachFormat, BrokenFilesAreRefusedOrPictures) {
  testing::internal::CaptureStderr();  // nothing is told but by errors
  const std::string whole =
      encoded(image_, {"a fox\nSteps: 2, Seed: 1, Size: 1x1", R"({"sdgen":"1"})", std::string(kMadeByModel)}, {});
  const auto read = [&](const std::string& bytes) {
    try {
      picture_texts(bytes, "x");
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << error.what();
    }
    try {
      decode_picture(bytes, "x");
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << error.what();
      EXPECT_TRUE(std::string_view(error.what()).starts_with("x: ")) << error.what();
      return false;
    }
  };
  EXPECT_TRUE(read(whole));
  // Of JPEG XL the last bytes are filling.
  for (std::size_t size = 0; size + 4 < whole.size(); size += size < 64 ? 1 : 37)
    EXPECT_FALSE(read(whole.substr(0, size))) << size << " of " << whole.size();
  std::mt19937 random(1);
  for (int round = 0; round < 600; ++round) {
    std::string bytes = whole;
    for (int i = 0; i <= round % 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    read(bytes);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// --- files of other programs

Image as_pillow_reads(const std::string& name) {
  static const Safetensors file(kImages / "expected.safetensors");
  const StoredTensor& entry = file.tensors().at(name);
  Image image{static_cast<int>(entry.shape[1]), static_cast<int>(entry.shape[0]), {}};
  image.rgb.resize(entry.bytes());
  file.read(entry, 0, std::as_writable_bytes(std::span(image.rgb)));
  return image;
}

// Without loss, and turned: the same pixels. With loss, where two versions of a library may round differently: within a
// few levels.
TEST(FormatsOfOthers, ArePillows) {
  for (const auto& [file, most] : {std::pair{"webp-lossless.webp", 0},
                                   {"webp-alpha.webp", 0},
                                   {"webp-turned-6.webp", 0},
                                   {"webp-lossy.webp", 0},
                                   {"avif-lossless.avif", 0},
                                   {"avif-lossy.avif", 2},
                                   {"avif-420.avif", 4},
                                   {"avif-alpha.avif", 2},
                                   {"avif-turned-5.avif", 2},
                                   {"avif-turned-6.avif", 2},
                                   {"avif-turned-7.avif", 2},
                                   {"avif-turned-2.avif", 2},
                                   {"jxl-lossless.jxl", 0},
                                   {"jxl-alpha.jxl", 0},
                                   {"jxl-grey.jxl", 0},
                                   {"jxl-lossy.jxl", 2}}) {
    const Image read = read_picture(kImages / file);
    EXPECT_LE(largest_difference_of(read, as_pillow_reads(fs::path(file).stem())), most) << file;
  }
}

// A picture that is turned and then mirrored left to right is one that is mirrored top to bottom instead, upside down.
// (Pillow writes no such files.)
TEST(FormatsOfOthers, AvifsAreTurnedAndThenMirrored) {
  for (const char* file : {"avif-turned-5.avif", "avif-turned-7.avif", "avif-turned-2.avif"}) {
    std::string bytes = contents(kImages / file);
    Image expected = decode_picture(bytes, file);
    bytes[bytes.find("imir") + 4] ^= 1;
    const Image read = decode_picture(bytes, file);
    ASSERT_EQ(read.width, expected.width);
    for (int i = 0, last = expected.width * expected.height - 1; i < last; ++i, --last)
      std::swap_ranges(expected.rgb.begin() + 3 * i, expected.rgb.begin() + 3 * i + 3, expected.rgb.begin() + 3 * last);
    EXPECT_EQ(read.rgb, expected.rgb) << file;
  }
}

TEST(FormatsOfOthers, MasksMayLieInTheOpacity) {
  for (const char* file : {"webp-mask.webp", "avif-mask.avif", "jxl-mask.jxl"}) {
    const InputMask mask = input_mask(contents(kImages / file), file);
    EXPECT_EQ(mask.said, InputMask::Said::by_opacity) << file;
    EXPECT_EQ(mask.picture.image->rgb.front(), 255) << file;
    EXPECT_EQ(mask.picture.image->rgb.back(), 0) << file;
  }
  EXPECT_EQ(input_mask(contents(kImages / "webp-lossless.webp"), "x").said, InputMask::Said::by_colours);
}

TEST(FormatsOfOthers, AnimationsAreRefusedByName) {
  for (const char* file : {"animated.webp", "animated.avif", "animated.jxl"})
    EXPECT_CONTAINS(message_of(Fault::input, [&] { read_picture(kImages / file); }), "is an animation");
}

// Sizes are looked at before anything is decoded.
TEST(FormatsOfOthers, LargePicturesAreRefusedBySize) {
  std::string webp = contents(kImages / "webp-large.webp"), jxl = contents(kImages / "jxl-large.jxl");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { decode_picture(webp, "x"); }), "at most 134 million");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { decode_picture(jxl, "x"); }), "at most 16384 a side");
  std::string avif = contents(kImages / "avif-lossless.avif");
  const std::size_t size = avif.find("ispe") + 8;
  for (const auto& [width, message] : {std::pair{"\0\0\x40\x01"s, "16385x43"}, {"\x7f\xff\xff\xff"s, "x: "}})
    EXPECT_CONTAINS(message_of(Fault::input, [&, bytes = width] { decode_picture(avif.replace(size, 4, bytes), "x"); }),
                    message);
}

// The length of a header of weights may look like JPEG XL's first bytes.
TEST(FormatsOfOthers, WeightsAreNoPictures) {
  EXPECT_EQ(image_format_of("\xFF\x0A\0\0\0\0\0\0{\"__metadata__\""s), nullptr);
  EXPECT_EQ(image_format_of("\xFF\x0A\0\0\0\0"s)->word, "jxl");
}

}  // namespace
}  // namespace sdgen
