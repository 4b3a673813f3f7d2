#include "stages/picture_tensor.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace sdgen {
namespace {

// As diffusers: (x / 2 + 0.5) clamped, times 255, rounded.
TEST(PictureTensor, RoundsAndClamps) {
  const auto level = [](double x) { return static_cast<float>(2 * x / 255 - 1); };
  const at::Tensor picture = at::tensor(std::vector<float>{level(9.6), level(9.4), level(0.4), level(254.6), -3, 3})
                                 .view({3, 1, 2});  // channels, rows, columns
  const Image image = to_image(picture);
  EXPECT_EQ(std::pair(image.width, image.height), std::pair(2, 1));
  EXPECT_EQ(image.rgb, (std::vector<std::uint8_t>{10, 0, 0, 9, 255, 255}));
}

TEST(PictureTensor, GoesBothWays) {
  Image image{3, 2, {}};
  for (int i = 0; i < 18; ++i) image.rgb.push_back(static_cast<std::uint8_t>(15 * i));
  const at::Tensor x = to_tensor(image);
  EXPECT_EQ(x.sizes(), (std::vector<std::int64_t>{1, 3, 2, 3}));
  EXPECT_EQ(x.min().item<float>(), -1);
  EXPECT_EQ(x.max().item<float>(), 1);
  EXPECT_FLOAT_EQ(to_unit_tensor(image)[0][2][1][0].item<float>(), 15 * 11 / 255.0f)
      << "blue of the second row's first";
  EXPECT_EQ(to_image(x[0]).rgb, image.rgb);
}

}  // namespace
}  // namespace sdgen
