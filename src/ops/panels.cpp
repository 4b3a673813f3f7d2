#include "ops/panels.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "ops/buffer.h"
#include "ops/cpu.h"
#include "ops/kernels.h"
#include "ops/packed.h"
#include "ops/pixels.h"
#include "ops/winograd.h"

namespace sdgen::ops::panels {
namespace {

using Index = std::int64_t;

// A weight in panels: once; for doubling_conv2d once for each of four results a pixel; or as Winograd's 16 matrices.
struct Panels {
  Tensor numbers;  // [sets, Kernels::packed_size()]
  Index columns, taps, channels;
  bool is_winograd() const { return numbers.size(0) == winograd::kProducts; }
  const float* set(Index i) const { return numbers.const_data_ptr<float>() + i * numbers.size(1); }
  float* mutable_set(Index i) const { return numbers.mutable_data_ptr<float>() + i * numbers.size(1); }
};

const Panels& panels_of(const Tensor& weight) { return *packed_in<Panels>(weight); }

Tensor packed_tensor(Panels panels, at::IntArrayRef sizes) { return packed_as(std::move(panels), sizes, at::kFloat); }

// Without numbers yet.
Panels empty_panels(Index sets, at::IntArrayRef sizes, Index taps) {
  TORCH_CHECK(c10::multiply_integers(sizes) > 0, "a weight of sizes ", sizes, " has no numbers");
  return {at::empty({sets, kernels().packed_size(sizes[0], taps, sizes[1])}, at::kFloat), sizes[0], taps, sizes[1]};
}

// Calls each(first, count) with the columns of whole panels, which threads share.
template <class Each>
void for_panels_of(const Panels& panels, const Each& each) {
  const Index panel = kernels().panel, count = (panels.columns + panel - 1) / panel;
  constexpr Index worth_a_thread = Index{1} << 16;  // numbers
  const Index grain = worth_a_thread / (panel * panels.taps * panels.channels) + 1;
  at::parallel_for(0, count, grain, [&](Index begin, Index end) {
    each(begin * panel, std::min(end * panel, panels.columns) - begin * panel);
  });
}

// sets: [columns, channels, taps...] each.
Tensor packed_sets(const std::vector<Tensor>& sets, at::IntArrayRef sizes) {
  const Index taps = sets[0].numel() / (sizes[0] * sizes[1]), row = taps * sizes[1];
  const Panels panels = empty_panels(std::ssize(sets), sizes, taps);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const Tensor whole = sets[i].contiguous();
    for_panels_of(panels, [&](Index first, Index count) {
      kernels().pack(whole.const_data_ptr<float>() + first * row, count, taps, panels.channels, row, 1, taps,
                     panels.mutable_set(Index(i)) + first * row);
    });
  }
  return packed_tensor(panels, sizes);
}

// A panel's columns at a time, whose matrices stay in the cache until they are laid out.
Tensor packed_winograd(const Tensor& weight) {
  const Tensor whole = weight.contiguous();
  const Panels panels = empty_panels(winograd::kProducts, weight.sizes(), 1);
  const Index panel = kernels().panel, channels = panels.channels;
  for_panels_of(panels, [&](Index first, Index count) {
    const Buffer<float> matrices(winograd::kProducts * panel * channels);
    for (Index column = first; column < first + count; column += panel) {
      const Index columns = std::min(panel, first + count - column);
      winograd::transform(whole.const_data_ptr<float>() + column * channels * 9, columns * channels, matrices.get());
      for (Index i = 0; i < winograd::kProducts; ++i)
        kernels().pack(matrices.get() + i * columns * channels, columns, 1, channels, channels, 1, 1,
                       panels.mutable_set(i) + column * channels);
    }
  });
  return packed_tensor(panels, weight.sizes());
}

// The rows of a block: where they are read and written.
struct Block {
  Index first, count, stride;
  const float** rows;  // [taps][stride]
  float** out;
  const float** plus;
};

// out = rows * a set of panels + bias + plus, in blocks that threads take one after another: a thread that is held up
// by other work on the machine does less. `fill` tells where the rows of a block are.
template <class Fill>
void multiply(Index rows, const Panels& weight, Index set, const float* bias, bool has_plus, const Fill& fill) {
  if (rows == 0 || weight.columns == 0) return;
  const Kernels& use = kernels();
  const double work = 2.0 * static_cast<double>(rows) * static_cast<double>(weight.columns * weight.taps) *
                      static_cast<double>(weight.channels);
  constexpr double worth_a_thread = 2e5, worth_a_piece = 2e6;  // operations
  const Index threads = work < worth_a_thread ? 1 : at::get_num_threads();
  const Index panels = (weight.columns + use.panel - 1) / use.panel;
  const auto pieces_wanted = static_cast<Index>(std::clamp(work / worth_a_piece, 1.0, 6.0)) * threads;
  // Rows in blocks that stay in the cache, columns in as many groups as it takes to have enough pieces. One block is
  // shared by its columns where there are enough of them, so that each weight is read once.
  const Index at_least = (rows + use.rows_at_once - 1) / use.rows_at_once;
  const Index blocks = at_least == 1 && panels >= pieces_wanted
                           ? 1
                           : std::min((at_least + threads - 1) / threads * threads, (rows + 23) / 24);
  const Index block_rows = ((rows + blocks - 1) / blocks + 11) / 12 * 12;
  const Index row_blocks = (rows + block_rows - 1) / block_rows;
  const Index groups = std::min(std::max<Index>((pieces_wanted + row_blocks - 1) / row_blocks, 1), panels);
  std::atomic<Index> next = 0;
  at::parallel_for(0, threads, 1, [&](Index, Index) {
    std::vector<const float*> in(weight.taps * block_rows), plus(block_rows);
    std::vector<float*> out(block_rows);
    Index filled = -1;
    Block block{0, 0, block_rows, in.data(), out.data(), plus.data()};
    for (Index i; (i = next++) < row_blocks * groups;) {
      const Index row_block = i % row_blocks, group = i / row_blocks;
      if (row_block != filled) {
        block.first = row_block * block_rows;
        block.count = std::min(block_rows, rows - block.first);
        fill(block);
        filled = row_block;
      }
      const Index begin = group * panels / groups * use.panel,
                  end = std::min((group + 1) * panels / groups * use.panel, weight.columns);
      use.multiply({in.data(), block_rows, block.count, weight.taps, weight.channels, weight.set(set), begin, end,
                    out.data(), has_plus ? plus.data() : nullptr, bias,
                    weight.set(set) + begin * weight.taps * weight.channels});  // as a rule the next block's, too
    }
  });
}

const float* numbers_of(const Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }

// What a pixel of the result sees: (stride * y - top, stride * x - left) is the first tap's.
struct Window {
  Index height, width, stride, top, left;
};

// Calls each(number in the block, picture, y, x) for the block's pixels of a result of that size.
template <class Each>
void for_each_pixel(const Block& block, Index height, Index width, const Each& each) {
  Index x = block.first % width, y = block.first / width % height, picture = block.first / width / height;
  for (Index i = 0; i < block.count; ++i) {
    each(i, picture, y, x);
    if (++x == width) {
      x = 0;
      if (++y == height) y = 0, ++picture;
    }
  }
}

// A set of panels over the windows of `in`, into `out`.
void convolve(const Pixels<const float>& in, Index pictures, const Window& window, const Panels& weight, Index set,
              const float* bias, const Pixels<const float>* plus, const Pixels<float>& out) {
  const std::vector<float> outside(weight.channels);  // zeros
  multiply(pictures * out.height * out.width, weight, set, bias, plus, [&](const Block& block) {
    for_each_pixel(block, out.height, out.width, [&](Index i, Index picture, Index y, Index x) {
      block.out[i] = out.at(picture, y, x);
      if (plus) block.plus[i] = plus->at(picture, y, x);
      const float** row = block.rows + i;
      for (Index v = 0; v < window.height; ++v)
        for (Index u = 0; u < window.width; ++u, row += block.stride) {
          const Index from_y = y * window.stride + v - window.top, from_x = x * window.stride + u - window.left;
          const bool inside = from_y >= 0 && from_y < in.height && from_x >= 0 && from_x < in.width;
          *row = inside ? in.at(picture, from_y, from_x) : outside.data();
        }
    });
  });
}

}  // namespace

bool takes(at::Device device, at::ScalarType dtype) { return device.is_cpu() && dtype == at::kFloat; }

std::uint64_t numbers_kept(at::IntArrayRef weight, at::Device device, at::ScalarType dtype, bool large_pictures) {
  const auto numbers = static_cast<std::uint64_t>(c10::multiply_integers(weight));
  const bool grows = takes(device, dtype) && winograd::pays(weight, /*stride=*/1, /*padding=*/1, large_pictures);
  return grows ? numbers / 9 * winograd::kProducts : numbers;
}

bool is_packed(const Tensor& weight) { return packed_in<Panels>(weight); }

Tensor packed(const Tensor& weight) { return packed_sets({weight}, weight.sizes()); }

Tensor packed_conv2d(const Tensor& weight, Index stride, Index padding, bool large_pictures) {
  return winograd::pays(weight.sizes(), stride, padding, large_pictures) ? packed_winograd(weight) : packed(weight);
}

Tensor packed_doubling(const std::vector<Tensor>& kernels) { return packed_sets(kernels, kernels[0].sizes()); }

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus) {
  RECORD_FUNCTION("sdgen::linear", {});
  const Panels& panels = panels_of(weight);
  TORCH_CHECK(x.size(-1) == panels.channels, "linear: ", x.sizes(), " does not go with ", weight.sizes());
  std::vector<Index> sizes = x.sizes().vec();
  sizes.back() = panels.columns;
  const Tensor in = x.contiguous(), out = at::empty(sizes, x.options()),
               added = plus.defined() ? plus.contiguous() : plus;
  const float *from = in.const_data_ptr<float>(), *also = numbers_of(added);
  float* to = out.mutable_data_ptr<float>();
  const Index rows = panels.columns ? out.numel() / panels.columns : 0;
  multiply(rows, panels, 0, numbers_of(bias), also, [&](const Block& block) {
    for (Index i = 0; i < block.count; ++i) {
      block.rows[i] = from + (block.first + i) * panels.channels;
      block.out[i] = to + (block.first + i) * panels.columns;
      if (also) block.plus[i] = also + (block.first + i) * panels.columns;
    }
  });
  return out;
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, Index stride, Index padding,
              const Tensor& plus) {
  RECORD_FUNCTION("sdgen::conv2d", {});
  const Panels& panels = panels_of(weight);
  TORCH_CHECK(x.size(1) == panels.channels, "conv2d: ", x.sizes(), " does not go with ", weight.sizes());
  const auto size = [&](Index dim) { return (x.size(dim) + 2 * padding - weight.size(dim)) / stride + 1; };
  const Tensor in = with_adjoining_channels(x), added = plus.defined() ? with_adjoining_channels(plus) : plus,
               out = at::empty({x.size(0), panels.columns, size(2), size(3)},
                               x.options().memory_format(at::MemoryFormat::ChannelsLast));
  if (panels.is_winograd()) {
    winograd::convolve(in, panels.set(0), panels.numbers.size(1), numbers_of(bias), added, out);
    return out;
  }
  const Pixels<float> to = pixels_of(out.mutable_data_ptr<float>(), out);
  std::optional<Pixels<const float>> also;
  if (plus.defined()) also = pixels_of(added.const_data_ptr<float>(), added);
  convolve(pixels_of(in.const_data_ptr<float>(), in), x.size(0),
           {weight.size(2), weight.size(3), stride, padding, padding}, panels, 0, numbers_of(bias),
           also ? &*also : nullptr, to);
  return out;
}

Tensor doubling_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  RECORD_FUNCTION("sdgen::doubling_conv2d", {});
  const Panels& panels = panels_of(weight);
  const Tensor in = with_adjoining_channels(x),
               out = at::empty({x.size(0), panels.columns, 2 * x.size(2), 2 * x.size(3)},
                               x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const Pixels<float> large = pixels_of(out.mutable_data_ptr<float>(), out);
  for (Index row = 0; row < 2; ++row)
    for (Index column = 0; column < 2; ++column)
      convolve(pixels_of(in.const_data_ptr<float>(), in), x.size(0), {2, 2, 1, 1 - row, 1 - column}, panels,
               2 * row + column, numbers_of(bias), nullptr,
               {large.begin + row * large.row + column * large.pixel, x.size(2), x.size(3), large.picture,
                2 * large.row, 2 * large.pixel});
  return out;
}

}  // namespace sdgen::ops::panels
