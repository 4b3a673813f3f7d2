#include "families/drawn_sizes.h"

#include <algorithm>
#include <cmath>

namespace sdgen {
namespace {

// In sixteenths of the native side.
struct DrawnShape {
  int height, width;
  bool only_2k = false;  // of the network for 2048x2048 alone
};
constexpr DrawnShape kShapes[] = {
    {8, 32},  {8, 31, true}, {8, 30, true}, {8, 29},       {9, 28},       {9, 27},       {9, 26},       {10, 25},
    {10, 24}, {11, 23},      {11, 22},      {11, 21},      {12, 21},      {12, 20},      {13, 19},      {13, 18},
    {14, 18}, {14, 17},      {15, 17},      {15, 16},      {16, 16},      {16, 15},      {17, 15},      {17, 14},
    {18, 14}, {18, 13},      {19, 13},      {20, 12},      {21, 12},      {22, 11},      {23, 11},      {24, 10},
    {25, 10}, {26, 9, true}, {27, 9},       {28, 9, true}, {29, 8, true}, {30, 8, true}, {31, 8, true}, {32, 8},
};

}  // namespace

std::vector<Size> drawn_sizes(std::int64_t sample_size) {
  if (sample_size != 32 && sample_size != 64 && sample_size != 128 && sample_size != 256) return {};
  const int unit = static_cast<int>(sample_size) * 8 / 16;  // whatever the autoencoder's factor is
  std::vector<Size> sizes;
  for (const DrawnShape& shape : kShapes)
    if (!shape.only_2k || sample_size == 256) sizes.push_back({shape.width * unit, shape.height * unit});
  return sizes;
}

Size nearest_in_shape(const std::vector<Size>& sizes, Size asked) {
  const double wanted = double(asked.height) / asked.width;
  return *std::ranges::min_element(sizes, {}, [wanted](const Size& size) {
    return std::abs(std::nearbyint(100.0 * size.height / size.width) / 100 - wanted);
  });
}

}  // namespace sdgen
