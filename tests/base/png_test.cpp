#include "image/png.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>

#include "base/scratch.h"
#include "io/utf8.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace sdgen {
namespace {

using namespace std::string_literals;

std::string encode(const Image& image, const std::vector<PictureText>& texts = {}) {
  const std::vector<std::byte> bytes = encode_png(image, texts);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Image image_of(int width, int height, const std::function<int(int, int, int)>& value) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) image.rgb.push_back(static_cast<std::uint8_t>(value(x, y, c)));
    }
  }
  return image;
}

const Image kPixel{1, 1, {1, 2, 3}};

struct Chunk {
  std::string type, data;
};

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

std::string big_endian(std::uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
  return out;
}

std::uint32_t crc(std::string_view bytes) {
  return crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
}

// The chunks of a PNG file, whose lengths and CRCs are checked.
std::vector<Chunk> chunks_of(std::string_view png) {
  std::vector<Chunk> chunks;
  EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  for (png.remove_prefix(8); !png.empty();) {
    const std::size_t length = png.size() < 12 ? SIZE_MAX : big_endian(png);
    if (length > png.size() - 12) {
      ADD_FAILURE() << "cut chunk";
      break;
    }
    chunks.push_back({std::string(png.substr(4, 4)), std::string(png.substr(8, length))});
    EXPECT_EQ(big_endian(png.substr(8 + length)), crc(png.substr(4, 4 + length))) << chunks.back().type;
    png.remove_prefix(12 + length);
  }
  return chunks;
}

std::string chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<std::uint32_t>(data.size())) + type + data + big_endian(crc(type + data));
}

std::string compressed(const std::string& text) {
  std::string out(compressBound(text.size()), '\0');
  uLongf size = out.size();
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  return out.substr(0, size);
}

class PngTest : public testing::Test {
 protected:
  // A PNG of one pixel with these chunks after its header.
  std::string with_chunks(const std::string& chunks) const { return encode(kPixel).insert(33, chunks); }
  std::vector<PictureText> texts(const std::string& png) const { return png_texts(png, "a.png"); }
  std::string refusal(const std::string& png) const {
    return message_of(Fault::input, [&] { texts(png); });
  }
  // The one text of a file with this chunk.
  std::string text(const std::string& type, const std::string& data) const {
    const auto found = texts(with_chunks(chunk(type, data)));
    return found.size() == 1 ? found[0].keyword + "=" + found[0].text : "?";
  }

  Scratch scratch_;
};

TEST_F(PngTest, DecodesToTheSamePixels) {
  std::mt19937 random(1);
  const std::vector<Image> images{
      kPixel,
      image_of(3, 2, [](int x, int y, int c) { return 40 * x + 90 * y + c; }),
      image_of(257, 5, [](int x, int y, int c) { return x * (c + 1) + y; }),
      image_of(5, 300, [](int x, int y, int) { return (x ^ y) * 31; }),
      image_of(128, 128, [](int, int, int c) { return 80 * c; }),
      image_of(200, 130, [&](int, int, int) { return static_cast<int>(random()); }),
  };
  for (const Image& image : images) {
    for (const bool has_text : {false, true}) {
      const std::string png = has_text ? encode(image, {{"parameters", "苹果"}}) : encode(image);
      int width = 0, height = 0, channels = 0;
      stbi_uc* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(png.data()),
                                              static_cast<int>(png.size()), &width, &height, &channels, 0);
      ASSERT_NE(pixels, nullptr) << stbi_failure_reason();
      ASSERT_EQ(std::tie(width, height, channels), std::make_tuple(image.width, image.height, 3));
      EXPECT_EQ(std::vector<std::uint8_t>(pixels, pixels + image.rgb.size()), image.rgb);
      stbi_image_free(pixels);
    }
  }
}

TEST_F(PngTest, CompressesFlatPictures) {
  EXPECT_LT(encode(image_of(512, 512, [](int, int, int c) { return 80 * c; })).size(), 10'000u);
}

TEST_F(PngTest, PutsTextBetweenHeaderAndPixels) {
  const auto chunks = chunks_of(encode(kPixel, {{"parameters", "a fox\nSteps: 20"}, {"Software", "sdgen"}}));
  ASSERT_EQ(chunks.size(), 5u);
  EXPECT_EQ(chunks[0].type, "IHDR");
  EXPECT_EQ(chunks[0].data, "\0\0\0\1\0\0\0\1\x08\x02\0\0\0"s) << "8 bits, RGB, not interlaced";
  EXPECT_EQ(chunks[1].type, "tEXt");
  EXPECT_EQ(chunks[1].data, "parameters\0a fox\nSteps: 20"s);
  EXPECT_EQ(chunks[2].data, "Software\0sdgen"s);
  EXPECT_EQ(chunks[3].type, "IDAT");
  EXPECT_EQ(chunks[4].type, "IEND");
}

TEST_F(PngTest, TakesLatin1WhereItCanAsPillowDoes) {
  const auto first = [](const std::string& text) { return chunks_of(encode(kPixel, {{"k", text}}))[1]; };
  EXPECT_EQ(first("café ÿ").type, "tEXt");
  EXPECT_EQ(first("café ÿ").data, "k\0caf\xe9 \xff"s);
  EXPECT_EQ(first("").data, "k\0"s);
  EXPECT_EQ(first("10 €").type, "iTXt");
  EXPECT_EQ(first("10 €").data, "k\0\0\0\0\0"s + "10 €");
  EXPECT_EQ(first("Ā").type, "iTXt");
}

TEST_F(PngTest, NeverLosesAPictureToItsText) {
  EXPECT_EQ(texts(encode(kPixel, {{"k", "a\0b"s}}))[0].text, "a\uFFFDb");
  EXPECT_EQ(texts(encode(kPixel, {{"k",
                                   "a\xff"
                                   "b\xe8\x8b"}}))[0]
                .text,
            "a\uFFFDb\uFFFD\uFFFD");
}

TEST_F(PngTest, ReadsBackWhatItWrote) {
  const std::vector<PictureText> written{{"parameters", "a fox"},
                                         {"Größe", "café"},
                                         {"k", ""},
                                         {"Title", "一只红苹果 🍎"},
                                         {"k", std::string(300'000, 'x')},
                                         {"Comment", "\t\"quotes\" \\ {json: 1}\n"}};
  const auto read = texts(encode(kPixel, written));
  ASSERT_EQ(read.size(), written.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].keyword, written[i].keyword);
    EXPECT_EQ(read[i].text, written[i].text);
  }
  EXPECT_TRUE(texts(encode(kPixel)).empty());
}

TEST_F(PngTest, RefusesBadKeywords) {
  for (const std::string& keyword : {""s, std::string(80, 'k'), " k"s, "k "s, "a  b"s, "a\nb"s, "a\0b"s, "苹果"s,
                                     "a\u00a0b"s, "a\u0085"s, "\xff"s}) {
    EXPECT_CONTAINS(message_of(Fault::internal, [&] { encode(kPixel, {{keyword, "x"}}); }), "is not a keyword");
  }
  EXPECT_EQ(texts(encode(kPixel, {{std::string(79, 'k'), "x"}})).size(), 1u);
}

TEST_F(PngTest, RefusesImagesThatDisagreeWithTheirSize) {
  for (const Image& image : {Image{0, 0, {}}, Image{2, 1, {1, 2, 3}}, Image{-1, -1, {1, 2, 3}}, Image{1, 0, {}},
                             Image{1 << 20, 1 << 20, {}}, Image{INT_MAX, INT_MAX, {}}}) {
    EXPECT_CONTAINS(message_of(Fault::internal, [&] { encode(image); }), "cannot be written as PNG");
  }
}

TEST_F(PngTest, ReadsEveryKindOfText) {
  EXPECT_EQ(text("tEXt", "k\0caf\xe9"s), "k=café");
  EXPECT_EQ(text("zTXt", "k\0\0"s + compressed("caf\xe9")), "k=café");
  EXPECT_EQ(text("iTXt", "k\0\0\0en\0Key\0"s + "苹果"), "k=苹果");
  EXPECT_EQ(text("iTXt", "k\0\1\0\0\0"s + compressed("苹果")), "k=苹果");
  EXPECT_EQ(text("zTXt", "k\0\0"s + compressed(std::string(3'000'000, 'x'))), "k=" + std::string(3'000'000, 'x'));
  EXPECT_EQ(text("tIME", "no text"), "?");
}

TEST_F(PngTest, RefusesMalformedText) {
  for (const auto& [type, data] : std::vector<std::pair<std::string, std::string>>{
           {"tEXt", "no separator"},
           {"tEXt", "\0text"s},
           {"tEXt", ""},
           {"zTXt", "k\0"s},
           {"zTXt", "k\0\1x"s},
           {"zTXt", "k\0\0no zlib"s},
           {"iTXt", "k\0"s},
           {"iTXt", "k\0\2\0\0\0x"s},
           {"iTXt", "k\0\0\0x"s},
           {"iTXt", "k\0\0"s},
           {"iTXt", "k\0\0\0\0x"s},
           {"iTXt", "k\0\0\0\0\0\xff"s},
           {"iTXt", "k\0\1\1\0\0x"s},
           {"zTXt", "k\0\0"s + compressed(std::string(5000, 'x')).substr(0, 20)}}) {
    EXPECT_CONTAINS(refusal(with_chunks(chunk(type, data))), "malformed or too long text");
  }
}

TEST_F(PngTest, BoundsTheText) {
  EXPECT_CONTAINS(refusal(with_chunks(chunk("zTXt", "k\0\0"s + compressed(std::string(100'000'000, 'x'))))),
                  "too long text");
  EXPECT_CONTAINS(refusal(with_chunks(chunk("tEXt", "k\0"s + std::string(17'000'000, 'x')))), "17000002 bytes of text");
  const std::string part = chunk("tEXt", "k\0"s + std::string(9'000'000, 'x'));
  EXPECT_CONTAINS(refusal(with_chunks(part + part)), "has more than 16777216 bytes of text");
}

TEST_F(PngTest, RefusesDamagedFiles) {
  const std::string png = encode(kPixel, {{"parameters", "a fox"}});
  EXPECT_CONTAINS(refusal(""), "is not a PNG file");
  EXPECT_CONTAINS(refusal("GIF89a......."), "is not a PNG file");
  EXPECT_CONTAINS(refusal(png.substr(0, 8) + png.substr(33)), "malformed chunk at byte 8");
  EXPECT_CONTAINS(refusal(png.substr(0, 33) + "\xff\xff\xff\xfftEXt"), "malformed chunk at byte 33");
  std::string flipped = png;
  flipped[33 + 8 + 11] ^= 1;
  EXPECT_CONTAINS(refusal(flipped), "wrong checksum in the chunk at byte 33");
  for (std::size_t size = 0; size < png.size(); ++size) EXPECT_NE(refusal(png.substr(0, size)), "") << size;
}

TEST_F(PngTest, TellsTheSize) {
  const std::string png = encode(image_of(7, 3, [](int x, int, int) { return x; }));
  EXPECT_TRUE(is_png(png));
  EXPECT_EQ(png_size(png, "x.png"), (Size{7, 3}));
  const auto refusal = [](const std::string& bytes) {
    return message_of(Fault::input, [&] { png_size(bytes, "x.png"); });
  };
  EXPECT_CONTAINS(refusal(png.substr(0, 20)), "ends within a chunk");
  EXPECT_CONTAINS(refusal(""), "is not a PNG file");
  EXPECT_FALSE(is_png(""));
  std::string damaged = png;
  damaged[19] ^= 1;
  EXPECT_CONTAINS(refusal(damaged), "wrong checksum");
  const std::string header = "IHDR" + big_endian(0) + big_endian(5) + png.substr(24, 5);
  EXPECT_CONTAINS(refusal(png.substr(0, 12) + header + big_endian(crc(header))), "0x5 pixels");
}

TEST_F(PngTest, SurvivesMutations) {
  const std::string png = with_chunks(chunk("tEXt", "k\0text"s) + chunk("iTXt", "k\0\1\0\0\0"s + compressed("苹果")));
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = png;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 2 == 0) {  // right checksums, so that the texts' own rules are reached
      const std::string data = "k\0\1\0\0\0"s + compressed("苹果");
      std::string changed = data;
      changed[random() % changed.size()] = static_cast<char>(random());
      bytes = with_chunks(chunk(round % 4 == 0 ? "iTXt" : "zTXt", changed));
    }
    try {
      for (const PictureText& entry : texts(bytes)) EXPECT_EQ(valid_utf8_prefix(entry.text), entry.text.size());
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::input) << error.what();
    }
  }
}

}  // namespace
}  // namespace sdgen
