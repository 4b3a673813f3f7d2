#include "image/picture.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>

#include "base/scratch.h"
#include "image/resize.h"
#include "io/file_format.h"
#include "io/hash.h"
#include "io/safetensors.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

const fs::path kImages = fs::path(SDGEN_FIXTURES) / "images";

Image expected(const std::string& name) {
  static const Safetensors file(kImages / "expected.safetensors");
  const StoredTensor& entry = file.tensors().at(name);
  Image image{static_cast<int>(entry.shape[1]), static_cast<int>(entry.shape[0]), {}};
  image.rgb.resize(entry.bytes());
  file.read(entry, 0, std::as_writable_bytes(std::span(image.rgb)));
  return image;
}

int largest_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

std::string message(const fs::path& path) {
  try {
    read_picture(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::input);
    return error.what();
  }
  ADD_FAILURE() << path << " was read";
  return "";
}

// Every kind of PNG, and turned ones, as Pillow reads them.
TEST(Picture, Png) {
  for (const std::string kind : {"grey", "grey-alpha", "alpha", "palette", "bilevel", "grey16", "rgb16", "rgba16",
                                 "turned-2", "turned-3", "turned-4", "turned-5", "turned-6", "turned-7", "turned-8"})
    EXPECT_EQ(largest_difference(read_picture(kImages / (kind + ".png")), expected(kind)), 0) << kind;
}

// By the same library as Pillow's.
TEST(Picture, Jpeg) {
  for (const std::string kind : {"jpeg", "jpeg-grey", "jpeg-turned-3", "jpeg-turned-6"})
    EXPECT_EQ(largest_difference(read_picture(kImages / (kind + ".jpg")), expected(kind)), 0) << kind;
}

TEST(Picture, OfARequestHasTheHashOfWhatWasDecoded) {
  const std::string bytes = contents(kImages / "alpha.png");
  const InputPicture picture = input_picture(bytes, "alpha");
  EXPECT_EQ(picture.image->rgb, read_picture(kImages / "alpha.png").rgb);
  EXPECT_EQ(picture.sha256, sha256_of(bytes));
  EXPECT_EQ(read_picture_file(kImages / "alpha.png"), bytes);
  EXPECT_EQ(read_picture_file(kImages / "expected.safetensors").size(), kFormatHead)
      << "of other files no more than the beginning";
  EXPECT_EQ(message_of(Fault::input, [] { input_picture("GIF89a", "x"); }),
            "x: is a GIF picture; only PNG, JPEG, WebP, AVIF and JPEG XL are read: convert it, for example with "
            "'magick x picture.png'");
}

TEST(Picture, ResizeIsPillows) {
  const Image photo = read_picture(kImages / "rgb16.png");
  for (const Size size : {Size{57, 43}, {24, 16}, {112, 88}, {57, 8}, {8, 43}, {1, 1}, {200, 3}, {56, 40}}) {
    const std::string name = concat("resized-", size.width, "x", size.height);
    EXPECT_EQ(largest_difference(resize(photo, size), expected(name)), 0) << name;
  }
}

// Cut anywhere, or with any byte changed, a file is refused or still a picture, in bounded time and memory; a PNG is
// always refused.
TEST(Picture, Broken) {
  const Scratch scratch;
  for (const std::string name : {"palette.png", "turned-6.png", "jpeg-turned-6.jpg"}) {
    const std::string whole = contents(kImages / name);
    for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 97)
      message(scratch.write("cut-" + name, whole.substr(0, size)));
    for (std::size_t i = 0; i < whole.size(); i += 31) {
      std::string bytes = whole;
      bytes[i] ^= 0x15;
      const fs::path path = scratch.write("changed-" + name, bytes);
      if (name.ends_with(".png")) {
        message(path);
        continue;
      }
      try {
        read_picture(path);
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::input);
      }
    }
  }
  EXPECT_NE(message(scratch.write("x.png", "GIF89a")).find("is a GIF picture"), std::string::npos);
  EXPECT_NE(message(scratch / "missing.png").find("missing.png"), std::string::npos);
  EXPECT_NE(message(scratch.folder()).find(scratch.folder().string()), std::string::npos);
}

std::string big(std::uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 255);
  return out;
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  return big(data.size()) + body + big(crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size()));
}

std::string packed(const std::string& bytes) {
  std::string out(compressBound(bytes.size()), '\0');
  uLongf size = out.size();
  EXPECT_EQ(compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                      bytes.size(), 1),
            Z_OK);
  out.resize(size);
  return out;
}

// A mask lies in the colours, unless these are all white or all black and the transparency is not the same everywhere.
TEST(Picture, MasksMayLieInTheOpacity) {
  using Said = InputMask::Said;
  const auto mask = [](const std::string& left, const std::string& right) {
    const std::string png = "\x89PNG\r\n\x1a\n"s + chunk("IHDR", big(2) + big(1) + "\x08\6\0\0\0"s) +
                            chunk("IDAT", packed("\0"s + left + right)) + chunk("IEND", "");
    const InputMask found = input_mask(png, "mask.png");
    EXPECT_EQ(found.picture.sha256, sha256_of(png));
    return std::tuple(found.said, found.picture.image->rgb[0], found.picture.image->rgb[3]);
  };
  const std::string black = "\0\0\0"s, white = "\xff\xff\xff", red = "\xff\0\0"s, clear = "\0"s, half = "\x80",
                    full = "\xff";
  EXPECT_EQ(mask(black + clear, black + full), std::tuple(Said::by_opacity, 0, 255));
  EXPECT_EQ(mask(white + half, white + clear), std::tuple(Said::by_opacity, 128, 0));
  EXPECT_EQ(mask(black + clear, red + full), std::tuple(Said::by_opacity, 0, 255));  // red is darker than half white
  EXPECT_EQ(mask(black + full, white + full), std::tuple(Said::by_colours, 0, 255));
  EXPECT_EQ(mask(white + half, white + half), std::tuple(Said::by_colours, 255, 255));
  EXPECT_EQ(mask(white + clear, black + full), std::tuple(Said::by_colours_despite_transparency, 255, 0));
  EXPECT_EQ(input_mask(contents(kImages / "jpeg.jpg"), "").said, Said::by_colours);
  EXPECT_EQ(largest_difference(*input_mask(contents(kImages / "turned-6.png"), "").picture.image, expected("turned-6")),
            0);
}

// Sizes are looked at before anything is decoded, and compressed zeros do not become gigabytes.
TEST(Picture, Bombs) {
  const Scratch scratch;
  const std::string zeros = packed(std::string(200'000'000, '\0'));
  const auto png = [&](std::uint32_t width, std::uint32_t height) {
    return "\x89PNG\r\n\x1a\n"s + chunk("IHDR", big(width) + big(height) + "\x08\2\0\0\0"s) + chunk("IDAT", zeros) +
           chunk("IEND", "");
  };
  EXPECT_NE(message(scratch.write("wide.png", png(16385, 8))).find("at most 16384"), std::string::npos);
  EXPECT_NE(message(scratch.write("huge.png", png(0x7FFFFFFF, 0x7FFFFFFF))).find("at most 16384"), std::string::npos);
  EXPECT_NE(message(scratch.write("zero.png", png(0, 8))).find("0x8"), std::string::npos);
  EXPECT_NE(message(scratch.write("bomb.png", png(8, 8))).find("outofmem"), std::string::npos);
}

TEST(Picture, Inks) {
  const Scratch scratch;
  const std::string frame = "\xFF\xC0\0\x14\x08\0\x08\0\x08\x04\1\x11\0\2\x11\0\3\x11\0\4\x11\0"s;
  EXPECT_NE(message(scratch.write("x.jpg", "\xFF\xD8"s + frame + "\xFF\xDA\0\2\xFF\xD9"s)).find("CMYK"),
            std::string::npos);
}

}  // namespace
}  // namespace sdgen
