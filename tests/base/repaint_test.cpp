// Picture arithmetic of inpainting against Pillow and diffusers (tests/fixtures/repaint.safetensors).
#include "image/repaint.h"

#include <gtest/gtest.h>

#include "image/blur.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace sdgen {
namespace {

const Safetensors& fixture() {
  static const Safetensors file(std::filesystem::path(SDGEN_FIXTURES) / "repaint.safetensors");
  return file;
}

Image picture(const std::string& name) {
  const StoredTensor& entry = fixture().tensors().at(name);
  Image image{static_cast<int>(entry.shape[1]), static_cast<int>(entry.shape[0]), {}};
  image.rgb.resize(entry.bytes());
  fixture().read(entry, 0, std::as_writable_bytes(std::span(image.rgb)));
  return image;
}

void expect_equal(const Image& got, const Image& expected, const std::string& what) {
  EXPECT_EQ(got.width, expected.width) << what;
  EXPECT_EQ(got.height, expected.height) << what;
  EXPECT_TRUE(got.rgb == expected.rgb) << what;
}

Image filled(int width, int height, const Box& white) {
  Image mask{width, height, std::vector<std::uint8_t>(std::size_t{3} * width * height)};
  const Size size = white.size();
  const Image box{size.width, size.height, std::vector<std::uint8_t>(std::size_t{3} * size.width * size.height, 255)};
  paste(mask, box, {white.left, white.top});
  return mask;
}

TEST(Repaint, BlurIsPillows) {
  const Image photo = picture("photo");
  for (const int radius : {1, 2, 3, 5, 8, 13, 40, 200})
    expect_equal(gaussian_blur(photo, static_cast<float>(radius)), picture(concat("blur-", radius)),
                 concat("radius ", radius));
}

TEST(Repaint, FitsAsDiffusersDoes) {
  const Image photo = picture("photo");
  for (const Size size : {Size{16, 48}, {48, 16}, {20, 21}, {64, 40}, {8, 8}, {15, 120}}) {
    const std::string name = concat(size.width, "x", size.height);
    expect_equal(fitted(photo, size, Fit::fill), picture("fill-" + name), "fill " + name);
    expect_equal(fitted(photo, size, Fit::crop), picture("crop-" + name), "crop " + name);
  }
}

TEST(Repaint, OverlayIsDiffusers) {
  expect_equal(overlaid(picture("made"), picture("kept"), picture("mask")), picture("overlaid"), "overlaid");
}

TEST(Repaint, RegionIsDiffusers) {
  const Json cases = parse_json(fixture().metadata().at("regions"), "regions");
  ASSERT_EQ(cases.size(), 300u);
  for (const Json& json : cases) {
    const auto c = json.get<std::vector<int>>();
    const Box box = masked_region(filled(c[0], c[1], {c[2], c[3], c[4], c[5]}), {c[6], c[7]}, c[8]);
    EXPECT_EQ(box, (Box{c[9], c[10], c[11], c[12]})) << json.dump();
  }
}

// What a picture grows by is white, the border inside fades, the rest is black; the picture itself stays.
TEST(Repaint, Growth) {
  const Image photo = picture("photo");  // 45x37
  const Margins margins{.left = 3, .top = 0, .right = 70, .bottom = 1};
  const Image canvas = grown(photo, margins), mask = growth_mask({45, 37}, margins);
  ASSERT_EQ(canvas.width, 3 + 45 + 70);
  ASSERT_EQ(canvas.height, 38);
  expect_equal(crop(canvas, {3, 0, 48, 37}), photo, "the picture");
  const std::vector<std::uint8_t> white = luma(mask);
  const auto at = [&](int x, int y) { return int(white[std::size_t(y) * mask.width + x]); };
  for (const int x : {0, 2, 48, 117}) EXPECT_EQ(at(x, 10), 255) << x;
  EXPECT_EQ(at(20, 37), 255);
  EXPECT_EQ(at(20, 0), 0);   // the top does not grow
  EXPECT_EQ(at(14, 10), 0);  // a quarter of 45 pixels fades
  EXPECT_EQ(at(36, 10), 0);
  for (int x = 4; x < 14; ++x) EXPECT_LT(at(x, 10), at(x - 1, 10)) << x;
  EXPECT_GT(at(13, 10), 0);
}

TEST(Repaint, Black) {
  EXPECT_TRUE(black(filled(5, 4, {0, 0, 0, 0})));
  EXPECT_FALSE(black(filled(5, 4, {4, 3, 5, 4})));
}

}  // namespace
}  // namespace sdgen
