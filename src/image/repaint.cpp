#include "image/repaint.h"

#include <algorithm>
#include <cmath>

#include "image/blur.h"

namespace sdgen {
namespace {

constexpr int kOverlap = 16;  // pixels: two latents

Image blank(Size size, std::uint8_t value = 0) {
  return {size.width, size.height, std::vector<std::uint8_t>(std::size_t{3} * size.width * size.height, value)};
}

// x / 255, rounded, for 0 <= x <= 255 * 255.
unsigned by_255(unsigned x) { return (((x + 128) >> 8) + x + 128) >> 8; }

// Pillow's alpha_composite of `kept`, as opaque as the mask is black, over an opaque `made`. The colour has been
// through premultiplied alpha, which rounds it.
std::uint8_t composite(unsigned made, unsigned kept, unsigned mask) {
  const unsigned alpha = 255 - mask;
  if (alpha == 0) return static_cast<std::uint8_t>(made);
  const unsigned premultiplied = by_255(kept * alpha);
  const unsigned colour = alpha == 255 ? premultiplied : std::min(255 * premultiplied / alpha, 255u);
  constexpr unsigned bits = 7;  // after the point
  const unsigned sum = (colour * alpha + made * (255 - alpha)) * (1 << bits) + (0x80 << bits);
  return static_cast<std::uint8_t>((((sum >> 8) + sum) >> 8) >> bits);
}

// One side of a region: [begin, end) grown to `wanted` pixels about its middle, moved to lie within `most`.
void widen(int& begin, int& end, double wanted, int most) {
  const int more = static_cast<int>(wanted - (end - begin));
  begin -= static_cast<int>(std::floor(more / 2.0));
  end += more - static_cast<int>(std::floor(more / 2.0));
  if (end >= most) begin -= end - most, end = most;
  if (begin < 0) end -= begin, begin = 0;
  end = std::min(end, most);
}

// Where a mirrored line of n samples takes its sample i from.
int mirrored(int i, int n) {
  i = ((i % (2 * n)) + 2 * n) % (2 * n);
  return i < n ? i : 2 * n - 1 - i;
}

// How white the mask is `inside` pixels within a picture of `side` pixels from a side that grows by `margin`.
int fade(int inside, int side, int margin) {
  if (margin == 0) return 0;
  if (inside < 0) return 255;
  const int width = std::min(kOverlap, side / 4);
  return inside < width ? 255 * (2 * (width - inside) - 1) / (2 * width) : 0;
}

}  // namespace

std::vector<std::uint8_t> luma(const Image& image) {
  std::vector<std::uint8_t> result;
  result.reserve(image.rgb.size() / 3);
  for (std::size_t i = 0; i < image.rgb.size(); i += 3)
    result.push_back(static_cast<std::uint8_t>(
        (19595u * image.rgb[i] + 38470u * image.rgb[i + 1] + 7471u * image.rgb[i + 2] + 0x8000u) >> 16));
  return result;
}

bool black(const Image& mask) {
  const std::vector<std::uint8_t> grey = luma(mask);
  return std::ranges::all_of(grey, [](std::uint8_t sample) { return sample == 0; });
}

Box masked_region(const Image& mask, Size made, int padding) {
  const std::vector<std::uint8_t> grey = luma(mask);
  const int w = mask.width, h = mask.height;
  Box box{w, h, 0, 0};
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      if (grey[std::size_t(y) * w + x])
        box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x + 1), y + 1};
  box = {std::max(box.left - padding, 0), std::max(box.top - padding, 0), std::min(box.right + padding, w),
         std::min(box.bottom + padding, h)};
  const auto [width, height] = box.size();
  const double proportion = double(made.width) / made.height;
  if (double(width) / height > proportion)
    widen(box.top, box.bottom, width / proportion, h);
  else
    widen(box.left, box.right, height * proportion, w);
  return box;
}

Image fitted(const Image& image, Size size, Fit fit) {
  const double wanted = double(size.width) / size.height, own = double(image.width) / image.height;
  const auto scaled = [](int side, int to, int from) {
    return std::max(1, static_cast<int>(std::int64_t{side} * to / from));
  };
  const bool full_width = fit == Fit::fill ? wanted < own : wanted > own;
  const bool full_height = fit == Fit::fill ? wanted >= own : wanted <= own;
  const Image scaled_image = resize(image, {full_width ? size.width : scaled(image.width, size.height, image.height),
                                            full_height ? size.height : scaled(image.height, size.width, image.width)});
  const Point corner{size.width / 2 - scaled_image.width / 2, size.height / 2 - scaled_image.height / 2};
  Image out = blank(size);
  paste(out, scaled_image, corner);
  if (fit == Fit::fill && wanted < own && corner.top > 0) {
    paste(out, continued(scaled_image, Edge::top, corner.top), {});
    paste(out, continued(scaled_image, Edge::bottom, corner.top), {0, corner.top + scaled_image.height});
  } else if (fit == Fit::fill && wanted > own && corner.left > 0) {
    paste(out, continued(scaled_image, Edge::left, corner.left), {});
    paste(out, continued(scaled_image, Edge::right, corner.left), {corner.left + scaled_image.width, 0});
  }
  return out;
}

Image overlaid(const Image& made, const Image& kept, const Image& mask) {
  const std::vector<std::uint8_t> grey = luma(mask);
  Image out{made.width, made.height, {}};
  out.rgb.reserve(made.rgb.size());
  for (std::size_t i = 0; i < made.rgb.size(); ++i) out.rgb.push_back(composite(made.rgb[i], kept.rgb[i], grey[i / 3]));
  return out;
}

Image growth_mask(Size size, const Margins& margins) {
  Image out = blank({size.width + margins.left + margins.right, size.height + margins.top + margins.bottom});
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int left = x - margins.left, top = y - margins.top;
      const int value = std::max({fade(left, size.width, margins.left), fade(top, size.height, margins.top),
                                  fade(size.width - 1 - left, size.width, margins.right),
                                  fade(size.height - 1 - top, size.height, margins.bottom)});
      std::fill_n(out.rgb.begin() + 3 * (std::size_t(y) * out.width + x), 3, static_cast<std::uint8_t>(value));
    }
  }
  return out;
}

Image grown(const Image& image, const Margins& margins) {
  Image out = blank({image.width + margins.left + margins.right, image.height + margins.top + margins.bottom});
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const std::size_t from =
          std::size_t(mirrored(y - margins.top, image.height)) * image.width + mirrored(x - margins.left, image.width);
      std::copy_n(image.rgb.begin() + 3 * from, 3, out.rgb.begin() + 3 * (std::size_t(y) * out.width + x));
    }
  }
  out = gaussian_blur(out, kOverlap);
  paste(out, image, {margins.left, margins.top});
  return out;
}

Image brighter(Image a, const Image& b) {
  for (std::size_t i = 0; i < a.rgb.size(); ++i) a.rgb[i] = std::max(a.rgb[i], b.rgb[i]);
  return a;
}

}  // namespace sdgen
