// Pictures held against each other: the measures, against scikit-image's and ImageHash's.
#include "image/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "io/safetensors.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

const Safetensors& fixtures() {
  static const Safetensors file(std::filesystem::path(SDGEN_FIXTURES) / "images" / "compare.safetensors");
  return file;
}

template <class T>
std::vector<T> values(const std::string& name) {
  const StoredTensor& entry = fixtures().tensors().at(name);
  std::vector<T> read(entry.bytes() / sizeof(T));
  fixtures().read(entry, 0, std::as_writable_bytes(std::span(read)));
  return read;
}

Image picture(const std::string& name) {
  const StoredTensor& entry = fixtures().tensors().at(name);
  return {static_cast<int>(entry.shape[1]), static_cast<int>(entry.shape[0]), values<std::uint8_t>(name)};
}

TEST(Comparison, MeasuresAreScikitImages) {
  std::size_t pairs = 0, without_ssim = 0;
  for (const auto& [name, entry] : fixtures().tensors()) {
    const std::size_t dot = name.find('.');
    if (dot == std::string::npos || name.ends_with(".hash")) continue;
    const auto expected = values<double>(name);
    const Difference found = difference(picture(name.substr(0, dot)), picture(name.substr(dot + 1)));
    EXPECT_EQ(found.max, expected[0]) << name;
    EXPECT_NEAR(found.mean, expected[1], 1e-9) << name;
    ASSERT_TRUE(found.psnr) << name;
    EXPECT_NEAR(*found.psnr, expected[2], 1e-6) << name;
    EXPECT_EQ(found.ssim.has_value(), expected[3] != -2) << name;
    if (found.ssim) {
      EXPECT_NEAR(*found.ssim, expected[3], 1e-6) << name;
    }
    EXPECT_EQ(found.hash, expected[4]) << name;
    ++pairs;
    without_ssim += !found.ssim;
  }
  EXPECT_EQ(pairs, 23u);  // of 7 pictures of one size, and of two each of two small sizes
  EXPECT_EQ(without_ssim, 1u);
}

TEST(Comparison, HashIsImageHashs) {
  std::size_t hashes = 0;
  for (const auto& [name, entry] : fixtures().tensors()) {
    if (!name.ends_with(".hash")) continue;
    std::uint64_t expected = 0;
    for (const std::uint8_t bit : values<std::uint8_t>(name)) expected = expected << 1 | bit;
    EXPECT_EQ(perceptual_hash(picture(name.substr(0, name.size() - 5))), expected) << name;
    ++hashes;
  }
  EXPECT_EQ(hashes, 12u);
}

TEST(Comparison, EqualPicturesHaveNoNoise) {
  const Image photo = picture("photo");
  const Difference same = difference(photo, photo);
  EXPECT_EQ(same.max, 0);
  EXPECT_EQ(same.mean, 0);
  EXPECT_FALSE(same.psnr);
  EXPECT_EQ(same.ssim, 1);
  EXPECT_EQ(same.hash, 0);
  EXPECT_EQ(psnr(photo, photo), std::numeric_limits<double>::infinity());
}

TEST(Comparison, DifferencesAreStretched) {
  const Image a{2, 1, {10, 20, 30, 0, 0, 0}}, b{2, 1, {10, 24, 28, 0, 0, 1}};
  EXPECT_EQ(difference_picture(a, b).rgb, (std::vector<std::uint8_t>{0, 255, 128, 0, 0, 64}));
  EXPECT_EQ(difference_picture(a, a).rgb, std::vector<std::uint8_t>(6, 0));
  EXPECT_THROW(difference(a, Image{1, 2, std::vector<std::uint8_t>(6)}), Error);
}

}  // namespace
}  // namespace sdgen
