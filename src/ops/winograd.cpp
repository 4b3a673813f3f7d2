#include "ops/winograd.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "ops/buffer.h"
#include "ops/kernels.h"
#include "ops/pixels.h"

namespace sdgen::ops::winograd {
namespace {

using at::Tensor;
using Index = std::int64_t;

constexpr Index kSide = 4, kStep = 2;  // pixels of a tile's side: that it sees, and that it makes

// What all threads share.
struct Convolution {
  Pixels<const float> in, plus;  // plus begins at null where there is none
  Pixels<float> out;
  Index channels = 0, columns = 0;
  Index tiles_down = 0, tiles_across = 0, tiles = 0;  // of a picture, and of all
  const float *sets = nullptr, *bias = nullptr;
  Index set_size = 0;
  Index block = 0, group = 0;  // tiles and columns that are worked on at once
};

// A thread's numbers: [16][block][channels] of tiles, and [16][block][group] of their products.
class Worker {
 public:
  explicit Worker(const Convolution& c)
      : c_(c),
        tiles_(kProducts * c.block * c.channels),
        products_(kProducts * c.block * c.group),
        rows_(c.block),
        out_(c.block),
        zeros_(c.channels),
        nowhere_(c.columns) {}

  // Columns [begin, end) of the tiles that start at `first`.
  void work(Index first, Index begin, Index end) {
    count_ = std::min(c_.block, c_.tiles - first);
    if (first != filled_) fill(first);
    const Index wide = end - begin;
    for (Index i = 0; i < kProducts; ++i) {
      for (Index j = 0; j < count_; ++j) {
        rows_[j] = tiles_.get() + (i * c_.block + j) * c_.channels;
        out_[j] = products_.get() + (i * c_.block + j) * c_.group;
      }
      // Columns before `begin` are whole panels, which are left out of the weight.
      const float *weight = c_.sets + i * c_.set_size + begin * c_.channels,
                  *next =
                      i + 1 < kProducts ? weight + c_.set_size : c_.sets + (end < c_.columns ? end : 0) * c_.channels;
      kernels().multiply(
          {rows_.data(), c_.block, count_, 1, c_.channels, weight, 0, wide, out_.data(), nullptr, nullptr, next});
    }
    for (Index j = 0; j < count_; ++j) finish(first + j, products_.get() + j * c_.group, begin, wide);
  }

 private:
  struct Place {
    Index picture, y, x;  // of the tile's first result
  };
  Place place_of(Index tile) const {
    const Index in_picture = tile % (c_.tiles_down * c_.tiles_across);
    return {tile / (c_.tiles_down * c_.tiles_across), in_picture / c_.tiles_across * kStep,
            in_picture % c_.tiles_across * kStep};
  }

  void fill(Index first) {
    for (Index j = 0; j < count_; ++j) {
      const Place place = place_of(first + j);
      std::array<const float*, kProducts> seen{};
      for (Index v = 0; v < kSide; ++v)
        for (Index u = 0; u < kSide; ++u) {
          const Index y = place.y + v - 1, x = place.x + u - 1;
          const bool inside = y >= 0 && y < c_.in.height && x >= 0 && x < c_.in.width;
          seen[v * kSide + u] = inside ? c_.in.at(place.picture, y, x) : zeros_.data();
        }
      kernels().winograd_in(seen.data(), c_.channels, tiles_.get() + j * c_.channels, c_.block * c_.channels);
    }
    filled_ = first;
  }

  void finish(Index tile, const float* products, Index begin, Index wide) {
    const Place place = place_of(tile);
    std::array<float*, kStep * kStep> out{};
    std::array<const float*, kStep * kStep> plus{};
    for (Index v = 0; v < kStep; ++v)
      for (Index u = 0; u < kStep; ++u) {
        const Index y = place.y + v, x = place.x + u, i = v * kStep + u;
        const bool inside = y < c_.out.height && x < c_.out.width;
        out[i] = inside ? c_.out.at(place.picture, y, x) + begin : nowhere_.get();
        plus[i] = inside && c_.plus.begin ? c_.plus.at(place.picture, y, x) + begin : nowhere_.get();
      }
    kernels().winograd_out(products, c_.block * c_.group, wide, c_.bias ? c_.bias + begin : nullptr,
                           c_.plus.begin ? plus.data() : nullptr, out.data());
  }

  const Convolution& c_;
  Buffer<float> tiles_, products_;
  std::vector<const float*> rows_;
  std::vector<float*> out_;
  std::vector<float> zeros_;
  Buffer<float> nowhere_;  // of pixels outside of the picture
  Index filled_ = -1, count_ = 0;
};

}  // namespace

bool pays(at::IntArrayRef weight, Index stride, Index padding, bool large_pictures) {
  constexpr Index least_channels = 32, most_numbers = Index{1300} * 1000;
  return weight.size() == 4 && weight[2] == 3 && weight[3] == 3 && stride == 1 && padding == 1 &&
         std::min(weight[0], weight[1]) >= least_channels && (large_pictures || weight[0] * weight[1] <= most_numbers);
}

void transform(const float* kernels, Index n, float* to) {
  // G g of a column or a row: what three numbers become.
  const auto spread = [](double a, double b, double c) { return std::array{a, (a + b + c) / 2, (a - b + c) / 2, c}; };
  for (Index i = 0; i < n; ++i) {
    const float* g = kernels + i * 9;
    std::array<std::array<double, kSide>, 3> down{};  // by the kernel's columns
    for (std::size_t u = 0; u < 3; ++u) down[u] = spread(g[u], g[3 + u], g[6 + u]);
    for (std::size_t v = 0; v < kSide; ++v) {
      const std::array<double, kSide> across = spread(down[0][v], down[1][v], down[2][v]);
      for (std::size_t u = 0; u < kSide; ++u) to[(Index(v) * kSide + Index(u)) * n + i] = static_cast<float>(across[u]);
    }
  }
}

void convolve(const Tensor& in, const float* sets, Index set_size, const float* bias, const Tensor& plus,
              const Tensor& out) {
  Convolution c;
  c.in = pixels_of(in.const_data_ptr<float>(), in), c.out = pixels_of(out.mutable_data_ptr<float>(), out);
  if (plus.defined()) c.plus = pixels_of(plus.const_data_ptr<float>(), plus);
  c.channels = in.size(1), c.columns = out.size(1);
  c.tiles_down = (c.out.height + kStep - 1) / kStep, c.tiles_across = (c.out.width + kStep - 1) / kStep;
  c.tiles = in.size(0) * c.tiles_down * c.tiles_across;
  c.sets = sets, c.bias = bias, c.set_size = set_size;
  if (c.tiles == 0) return;

  // As many tiles as stay in a core's second cache, and as many columns as make their numbers worth reading again.
  constexpr Index cached_numbers = Index{32} << 10, least = 48, most = 96, multiple = 12, columns_at_once = 64;
  const Index threads = at::get_num_threads();
  const Index fits = std::clamp(cached_numbers / c.channels, least, most) / multiple * multiple;
  const Index blocks = ((c.tiles + fits - 1) / fits + threads - 1) / threads * threads;
  c.block = ((c.tiles + blocks - 1) / blocks + multiple - 1) / multiple * multiple;
  c.group = std::max(kernels().panel, columns_at_once);
  const Index groups = (c.columns + c.group - 1) / c.group, row_blocks = (c.tiles + c.block - 1) / c.block;
  // A thread takes a block with all its columns where there are blocks enough, else pieces of them.
  const Index at_once = row_blocks >= threads ? groups : 1, pieces = (groups + at_once - 1) / at_once;
  std::atomic<Index> next = 0;
  at::parallel_for(0, threads, 1, [&](Index, Index) {
    Worker worker(c);
    for (Index i; (i = next++) < row_blocks * pieces;) {
      const Index first = i / pieces * c.block, piece = i % pieces;
      for (Index group = piece * at_once; group < std::min((piece + 1) * at_once, groups); ++group)
        worker.work(first, group * c.group, std::min((group + 1) * c.group, c.columns));
    }
  });
}

}  // namespace sdgen::ops::winograd
