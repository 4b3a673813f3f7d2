#include "image/canny.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

namespace sdgen {
namespace {

// Lightness (ITU-R BT.601) with 15 bits after the point, rounded: OpenCV's cvtColor on 8 bits.
std::vector<std::uint8_t> lightness(const Image& image) {
  std::vector<std::uint8_t> grey(std::size_t(image.width) * image.height);
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const std::uint8_t* c = &image.rgb[3 * i];
    grey[i] = static_cast<std::uint8_t>((c[0] * 9798 + c[1] * 19235 + c[2] * 3735 + (1 << 14)) >> 15);
  }
  return grey;
}

// Derivatives of a grey picture, and their magnitudes with a border of zeros around them.
struct Slopes {
  int width, height;
  std::vector<std::int16_t> dx, dy;
  std::vector<int> magnitudes;  // (height + 2) rows of width + 2

  Slopes(const std::vector<std::uint8_t>& grey, int width, int height)
      : width(width),
        height(height),
        dx(grey.size()),
        dy(grey.size()),
        magnitudes(std::size_t(width + 2) * (height + 2)) {
    for (int y = 0; y < height; ++y) {
      const std::uint8_t* above = &grey[std::size_t(std::max(y - 1, 0)) * width];
      const std::uint8_t* row = &grey[std::size_t(y) * width];
      const std::uint8_t* below = &grey[std::size_t(std::min(y + 1, height - 1)) * width];
      for (int x = 0; x < width; ++x) {
        const int l = std::max(x - 1, 0), r = std::min(x + 1, width - 1);
        const std::size_t i = std::size_t(y) * width + x;
        dx[i] = static_cast<std::int16_t>(above[r] - above[l] + 2 * (row[r] - row[l]) + below[r] - below[l]);
        dy[i] = static_cast<std::int16_t>(below[l] + 2 * below[x] + below[r] - above[l] - 2 * above[x] - above[r]);
        *magnitude(x, y) = std::abs(dx[i]) + std::abs(dy[i]);
      }
    }
  }

  int stride() const { return width + 2; }
  int* magnitude(int x, int y) { return &magnitudes[std::size_t(y + 1) * stride() + x + 1]; }

  // Is the pixel the strongest across the edge? The direction is one of four, decided by the tangent of 22.5 degrees
  // with 15 bits after the point; among equals the first counts.
  bool peak(int x, int y) {
    constexpr int kBits = 15, kTangent = 13573;
    const std::size_t i = std::size_t(y) * width + x;
    const int across = std::abs(dx[i]), along = std::abs(dy[i]) << kBits, flat = across * kTangent;
    const int* m = magnitude(x, y);
    if (along < flat) return *m > m[-1] && *m >= m[1];
    if (along > flat + (across << (kBits + 1))) return *m > m[-stride()] && *m >= m[stride()];
    const int side = (dx[i] ^ dy[i]) < 0 ? -1 : 1;
    return *m > m[-stride() - side] && *m > m[stride() + side];
  }
};

}  // namespace

Image canny(const Image& image, double low, double high) {
  if (low > high) std::swap(low, high);
  const int weak = static_cast<int>(std::floor(low)), strong = static_cast<int>(std::floor(high));
  const int width = image.width, height = image.height;
  Slopes slopes(lightness(image), width, height);
  enum : std::uint8_t { nothing, candidate, edge };
  std::vector<std::uint8_t> kinds(std::size_t(width) * height, nothing);
  std::vector<std::pair<int, int>> open;  // edges whose neighbours have not been looked at
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int m = *slopes.magnitude(x, y);
      if (m <= weak || !slopes.peak(x, y)) continue;
      kinds[std::size_t(y) * width + x] = m > strong ? edge : candidate;
      if (m > strong) open.emplace_back(x, y);
    }
  while (!open.empty()) {
    const auto [x, y] = open.back();
    open.pop_back();
    for (int v = std::max(y - 1, 0); v <= std::min(y + 1, height - 1); ++v)
      for (int u = std::max(x - 1, 0); u <= std::min(x + 1, width - 1); ++u)
        if (std::uint8_t& kind = kinds[std::size_t(v) * width + u]; kind == candidate) {
          kind = edge;
          open.emplace_back(u, v);
        }
  }
  Image out{width, height, {}};
  out.rgb.reserve(3 * kinds.size());
  for (const std::uint8_t kind : kinds) out.rgb.insert(out.rgb.end(), 3, kind == edge ? 255 : 0);
  return out;
}

}  // namespace sdgen
