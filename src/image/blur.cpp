#include "image/blur.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace sdgen {
namespace {

constexpr int kPasses = 3;
constexpr int kFraction = 24;  // bits after the point

// A box of 2 * radius + 1 samples of weight `whole`, and one of weight `edge` on either side.
struct ExtendedBox {
  int radius;
  std::uint32_t whole, edge;

  // As wide as the standard deviation wants, when it is applied kPasses times. In float where Pillow has it, since its
  // rounding shows.
  explicit ExtendedBox(float deviation) {
    const float variance = deviation * deviation / kPasses;
    const float length = static_cast<float>(std::sqrt(12.0 * variance + 1.0));
    const float whole_radius = static_cast<float>(std::floor((length - 1.0) / 2.0));
    float part = (2 * whole_radius + 1) * (whole_radius * (whole_radius + 1) - 3 * variance);
    part /= 6 * (variance - (whole_radius + 1) * (whole_radius + 1));
    const float full = whole_radius + part;
    radius = static_cast<int>(full);
    whole = static_cast<std::uint32_t>((1 << kFraction) / (full * 2 + 1));
    edge = ((1 << kFraction) - (radius * 2 + 1) * whole) / 2;
  }

  // One line of n samples, `stride` bytes apart.
  void operator()(const std::uint8_t* from, std::uint8_t* to, int n, std::size_t stride) const {
    const auto at = [=](int i) -> std::uint32_t { return from[std::size_t(std::clamp(i, 0, n - 1)) * stride]; };
    std::uint32_t sum = 0;  // around the sample before the first
    for (int i = -radius - 1; i < radius; ++i) sum += at(i);
    for (int i = 0; i < n; ++i) {
      sum += at(i + radius) - at(i - radius - 1);
      const std::uint32_t weighted = sum * whole + (at(i - radius - 1) + at(i + radius + 1)) * edge;
      to[std::size_t(i) * stride] = static_cast<std::uint8_t>((weighted + (1u << (kFraction - 1))) >> kFraction);
    }
  }
};

}  // namespace

Image gaussian_blur(const Image& image, float radius) {
  const ExtendedBox box(radius);
  Image now = image, next = image;
  const std::size_t row = std::size_t{3} * image.width;
  for (int pass = 0; pass < kPasses; ++pass, std::swap(now, next))
    for (int y = 0; y < image.height; ++y)
      for (int c = 0; c < 3; ++c)
        box(now.rgb.data() + y * row + c, next.rgb.data() + y * row + c, image.width, /*stride=*/3);
  for (int pass = 0; pass < kPasses; ++pass, std::swap(now, next))
    for (std::size_t x = 0; x < row; ++x) box(now.rgb.data() + x, next.rgb.data() + x, image.height, row);
  return now;
}

}  // namespace sdgen
