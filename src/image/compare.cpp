#include "image/compare.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numbers>
#include <span>
#include <vector>

#include "image/repaint.h"
#include "image/resize.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

void require_one_size(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height || a.rgb.size() != b.rgb.size())
    throw Error(Fault::internal, concat("pictures of ", a.width, "x", a.height, " and ", b.width, "x", b.height,
                                        " pixels are compared"));
}

constexpr int kWindow = 7;                           // of the structural similarity: pixels a side
constexpr double kSamples = kWindow * kWindow;       // in a window
constexpr double kC1 = (0.01 * 255) * (0.01 * 255);  // (K1 L)^2
constexpr double kC2 = (0.03 * 255) * (0.03 * 255);  // (K2 L)^2

// Sums over samples of both pictures: whole numbers, so that sliding them on loses nothing.
struct Sums {
  std::int32_t a = 0, b = 0, aa = 0, bb = 0, ab = 0;

  Sums& operator+=(const Sums& s) {
    a += s.a, b += s.b, aa += s.aa, bb += s.bb, ab += s.ab;
    return *this;
  }
  Sums& operator-=(const Sums& s) {
    a -= s.a, b -= s.b, aa -= s.aa, bb -= s.bb, ab -= s.ab;
    return *this;
  }
};

Sums of(std::uint8_t a, std::uint8_t b) { return {a, b, a * a, b * b, a * b}; }

double similarity(const Sums& s) {
  constexpr double kSample = kSamples / (kSamples - 1);  // of the covariance of a sample
  const double ma = s.a / kSamples, mb = s.b / kSamples;
  const double va = kSample * (s.aa / kSamples - ma * ma), vb = kSample * (s.bb / kSamples - mb * mb);
  const double cov = kSample * (s.ab / kSamples - ma * mb);
  return (2 * ma * mb + kC1) * (2 * cov + kC2) / ((ma * ma + mb * mb + kC1) * (va + vb + kC2));
}

// The mean over all windows of one channel.
double similarity_of(const Image& a, const Image& b, std::size_t channel) {
  const std::size_t width = std::size_t(a.width), height = std::size_t(a.height);
  const auto at = [&](std::size_t x, std::size_t y) {
    const std::size_t i = 3 * (y * width + x) + channel;
    return of(a.rgb[i], b.rgb[i]);
  };
  std::vector<Sums> columns(width);  // of the window's rows
  double total = 0;
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t x = 0; x < width; ++x) {
      columns[x] += at(x, y);
      if (y >= kWindow) columns[x] -= at(x, y - kWindow);
    }
    if (y + 1 < kWindow) continue;
    Sums window;
    double row = 0;
    for (std::size_t x = 0; x < width; ++x) {
      window += columns[x];
      if (x >= kWindow) window -= columns[x - kWindow];
      if (x + 1 >= kWindow) row += similarity(window);
    }
    total += row;
  }
  return total / (double(width - kWindow + 1) * double(height - kWindow + 1));
}

constexpr std::size_t kHashed = 32, kHashSide = 8;  // pixels and bits a side of the perceptual hash

// The DCT-II without a scale: X_k = 2 sum_n x_n cos(pi k (2n + 1) / 2N), N a power of two. The two halves are folded:
// their sums make the even coefficients, their differences the odd ones. So what a symmetric signal has none of is
// exactly 0, and not what rounding leaves.
void cosine_transform(std::span<double> x) {
  const std::size_t half = x.size() / 2;
  if (half == 0) {
    x[0] *= 2;
    return;
  }
  std::vector<double> sums(half), differences(half);
  for (std::size_t i = 0; i < half; ++i) {
    sums[i] = x[i] + x[x.size() - 1 - i];
    differences[i] = x[i] - x[x.size() - 1 - i];
  }
  cosine_transform(sums);
  for (std::size_t k = 0; k < half; ++k) {
    x[2 * k] = sums[k];
    double odd = 0;
    for (std::size_t i = 0; i < half; ++i)
      odd +=
          2 * std::cos(std::numbers::pi * double((2 * k + 1) * (2 * i + 1)) / (2 * double(x.size()))) * differences[i];
    x[2 * k + 1] = odd;
  }
}

double median(std::array<double, kHashSide * kHashSide> values) {
  constexpr std::size_t middle = values.size() / 2;
  std::ranges::sort(values);
  return (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

double psnr(const Image& a, const Image& b) {
  require_one_size(a, b);
  std::uint64_t squares = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    const int difference = a.rgb[i] - b.rgb[i];
    squares += std::uint64_t(difference * difference);
  }
  if (squares == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(255.0 * 255.0 * double(a.rgb.size()) / double(squares));
}

std::optional<double> ssim(const Image& a, const Image& b) {
  require_one_size(a, b);
  if (std::min(a.width, a.height) < kWindow) return std::nullopt;
  return (similarity_of(a, b, 0) + similarity_of(a, b, 1) + similarity_of(a, b, 2)) / 3;
}

std::uint64_t perceptual_hash(const Image& image) {
  Image grey{image.width, image.height, {}};
  grey.rgb.reserve(image.rgb.size());
  for (const std::uint8_t light : luma(image)) grey.rgb.insert(grey.rgb.end(), 3, light);
  const Image small = resize(grey, {int(kHashed), int(kHashed)});
  std::array<std::array<double, kHashed>, kHashed> rows{}, columns{};
  for (std::size_t y = 0; y < kHashed; ++y)
    for (std::size_t x = 0; x < kHashed; ++x) columns[x][y] = small.rgb[3 * (y * kHashed + x)];
  for (auto& column : columns) cosine_transform(column);
  std::array<double, kHashSide * kHashSide> lowest{};
  for (std::size_t y = 0; y < kHashSide; ++y) {
    for (std::size_t x = 0; x < kHashed; ++x) rows[y][x] = columns[x][y];
    cosine_transform(rows[y]);
    std::copy_n(rows[y].begin(), kHashSide, lowest.begin() + std::ptrdiff_t(y * kHashSide));
  }
  const double middle = median(lowest);
  std::uint64_t hash = 0;
  for (const double coefficient : lowest) hash = hash << 1 | std::uint64_t(coefficient > middle);
  return hash;
}

Difference difference(const Image& a, const Image& b) {
  Difference found{.ssim = ssim(a, b)};
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    const int difference = std::abs(a.rgb[i] - b.rgb[i]);
    found.max = std::max(found.max, difference);
    sum += std::uint64_t(difference);
  }
  if (!a.rgb.empty()) found.mean = double(sum) / double(a.rgb.size());
  if (found.max > 0) {
    found.psnr = psnr(a, b);
    found.hash = std::popcount(perceptual_hash(a) ^ perceptual_hash(b));
  }
  return found;
}

Difference no_difference(Size size) {
  return {.ssim = std::min(size.width, size.height) < kWindow ? std::nullopt : std::optional(1.0)};
}

Image difference_picture(const Image& a, const Image& b) {
  require_one_size(a, b);
  Image picture{a.width, a.height, std::vector<std::uint8_t>(a.rgb.size())};
  int most = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    const int difference = std::abs(a.rgb[i] - b.rgb[i]);
    picture.rgb[i] = static_cast<std::uint8_t>(difference);
    most = std::max(most, difference);
  }
  if (most > 0)
    for (std::uint8_t& sample : picture.rgb) sample = static_cast<std::uint8_t>((sample * 255 + most / 2) / most);
  return picture;
}

}  // namespace sdgen
