#include "ops/int8_conv.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "ops/brgemm.h"
#include "ops/buffer.h"
#include "ops/cpu.h"
#include "ops/int8.h"
#include "ops/packed.h"
#include "ops/pixels.h"

namespace sdgen::ops::int8 {
namespace {

using Index = std::int64_t;

constexpr Index kColumns = 64, kCells = 128, kDepth = 1024;  // of a product
constexpr std::uint8_t kZero = 128;                          // pixels are whole numbers plus this

// A weight, a group of 64 columns after another, as brgemm() takes it.
struct Kernel {
  Tensor numbers;  // int8 [groups][taps][channels / 4][64][4]
  Tensor scales;   // float32 [groups][64]
  Tensor sums;     // int32 [groups][taps][64]: of the numbers of a column
  Index columns, side, channels;

  Index taps() const { return side * side; }
  Index groups() const { return scales.size(0); }
};

// Whole pictures with zeros around them, cell by cell. A window's taps lie at the same distances from its first one
// wherever that is, so that a product's rows are cells one after another; those around pictures are of no use.
struct Cells {
  Index pictures, height, width;  // with what is around them
  Buffer<std::uint8_t> numbers;   // [pictures][height][width][channels]
  std::vector<float> scales;      // [pictures][height][width]

  Index count() const { return pictures * height * width; }
};

template <class T>
Cells rounded(const Pixels<const T>& in, Index pictures, Index channels, Index around) {
  const Index height = in.height + 2 * around, width = in.width + 2 * around, count = pictures * height * width;
  Cells cells{pictures, height, width, Buffer<std::uint8_t>(count * channels),
              std::vector<float>(static_cast<std::size_t>(count))};
  at::parallel_for(0, pictures * height, std::max<Index>(1, 65536 / (width * channels)), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row)
      for (Index x = 0; x < width; ++x) {
        const Index cell = row * width + x, in_y = row % height - around, in_x = x - around;
        std::uint8_t* to = cells.numbers.get() + cell * channels;
        if (in_y >= 0 && in_y < in.height && in_x >= 0 && in_x < in.width)
          cells.scales[std::size_t(cell)] =
              cpu::row_kernels<T>().quantize(in.at(row / height, in_y, in_x), channels, to);
        else
          std::fill_n(to, channels, kZero);
      }
  });
  return cells;
}

template <class T>
struct Convolution {
  const Cells& cells;
  const Kernel& kernel;
  const float* bias;     // of all groups' columns
  Pixels<const T> plus;  // begins at null where there is none
  Pixels<T> out;
};

// The windows that begin in so many cells, by a group of columns: a thread's, with memory of its own.
template <class T>
class Worker {
 public:
  explicit Worker(const Convolution<T>& o) : o_(o), products_(kCells * kColumns), sums_(kCells * kColumns) {}

  void work(Index first, Index count, Index group) {
    const Kernel& k = o_.kernel;
    const Index channels = k.channels;
    const auto* weight = k.numbers.const_data_ptr<std::int8_t>() + group * k.taps() * channels * kColumns;
    for (Index tap = 0; tap < k.taps(); ++tap, weight += channels * kColumns) {
      const Index cell = first + tap / k.side * o_.cells.width + tap % k.side;
      for (Index at = 0; at < channels; at += kDepth)
        brgemm({count, kColumns, std::min(kDepth, channels - at)}, o_.cells.numbers.get() + cell * channels + at,
               channels, weight + at * kColumns, at > 0, products_.get());
      add(cell, count, group, tap);
    }
    finish(first, count, group);
  }

 private:
  // The products with a tap, each in its cell's scale.
  void add(Index cell, Index count, Index group, Index tap) {
    const Kernel& k = o_.kernel;
    for (Index i = 0; i < count; ++i) {
      float* sums = sums_.get() + i * kColumns;
      cpu::row_kernels<float>().finish_int8(
          products_.get() + i * kColumns, k.sums.const_data_ptr<std::int32_t>() + (group * k.taps() + tap) * kColumns,
          o_.cells.scales[std::size_t(cell + i)], k.scales.const_data_ptr<float>() + group * kColumns, nullptr,
          tap > 0 ? sums : nullptr, sums, kColumns);
    }
  }

  void finish(Index first, Index count, Index group) {
    const Index column = group * kColumns, wide = std::min(kColumns, o_.kernel.columns - column);
    for (Index i = 0; i < count; ++i) {
      const Index cell = first + i, x = cell % o_.cells.width, y = cell / o_.cells.width % o_.cells.height,
                  picture = cell / o_.cells.width / o_.cells.height;
      if (x >= o_.out.width || y >= o_.out.height) continue;
      cpu::row_kernels<T>().finish(sums_.get() + i * kColumns, o_.bias ? o_.bias + column : nullptr,
                                   o_.plus.begin ? o_.plus.at(picture, y, x) + column : nullptr,
                                   o_.out.at(picture, y, x) + column, wide);
    }
  }

  const Convolution<T>& o_;
  Buffer<std::int32_t> products_;
  Buffer<float> sums_;
};

// Threads take pieces one after another: a thread that is held up by other work does less. A group's weights stay in
// the cache for all cells.
template <class T>
void convolve(const Convolution<T>& o) {
  const Index side = o.kernel.side, last = o.cells.count() - (side - 1) * (o.cells.width + 1),  // first taps end there
      blocks = (last + kCells - 1) / kCells;
  const Index pieces = blocks * o.kernel.groups();
  std::atomic<Index> next = 0;
  at::parallel_for(0, std::min<Index>(at::get_num_threads(), pieces), 1, [&](Index, Index) {
    Worker<T> worker(o);
    for (Index i; (i = next++) < pieces;) {
      const Index first = i % blocks * kCells;
      worker.work(first, std::min(kCells, last - first), i / blocks);
    }
    release_brgemm();
  });
}

}  // namespace

bool convolves(at::IntArrayRef weight, Index stride, Index padding) {
  constexpr Index least_channels = 32;
  return weight.size() == 4 && (weight[2] == 1 || weight[2] == 3) && weight[3] == weight[2] && stride == 1 &&
         2 * padding == weight[2] - 1 && std::min(weight[0], weight[1]) >= least_channels && multiplies_int8(weight[1]);
}

Tensor packed_conv2d(const Tensor& weight) {
  TORCH_CHECK(convolves(weight.sizes(), 1, weight.size(2) / 2), "a convolution of ", weight.sizes(),
              " is not made in int8");
  const Index columns = weight.size(0), channels = weight.size(1), side = weight.size(2), taps = side * side,
              groups = (columns + kColumns - 1) / kColumns;
  const auto options = at::TensorOptions().device(at::kCPU);
  const Kernel kernel{at::zeros({groups, taps, channels / 4, kColumns, 4}, options.dtype(at::kChar)),
                      at::zeros({groups, kColumns}, options.dtype(at::kFloat)),
                      at::zeros({groups, taps, kColumns}, options.dtype(at::kInt)),
                      columns,
                      side,
                      channels};
  const Tensor whole = weight.to(at::kFloat).contiguous();
  const auto* from = whole.const_data_ptr<float>();
  auto* numbers = kernel.numbers.mutable_data_ptr<std::int8_t>();
  auto* scales = kernel.scales.mutable_data_ptr<float>();
  auto* sums = kernel.sums.mutable_data_ptr<std::int32_t>();
  at::parallel_for(0, columns, std::max<Index>(1, 65536 / (channels * taps)), [&](Index begin, Index end) {
    for (Index column = begin; column < end; ++column) {
      const float* row = from + column * channels * taps;
      float most = 0, odd = 0;
      for (Index i = 0; i < channels * taps; ++i) {
        most = std::max(most, std::abs(row[i]));
        odd += row[i] * 0;  // a NaN where there is one, or an infinity
      }
      const float scale = most / 127, factor = scale > 0 ? 1 / scale : 0;
      scales[column] = scale + odd;
      if (std::isnan(odd)) continue;
      const Index group = column / kColumns, within = column % kColumns;
      for (Index tap = 0; tap < taps; ++tap)
        for (Index c = 0; c < channels; ++c) {
          const auto number = static_cast<std::int8_t>(std::lrint(double(row[c * taps + tap]) * factor));
          numbers[(((group * taps + tap) * (channels / 4) + c / 4) * kColumns + within) * 4 + c % 4] = number;
          sums[(group * taps + tap) * kColumns + within] += number;
        }
    }
  });
  return packed_as(kernel, weight.sizes(), at::kChar);
}

bool is_packed(const Tensor& weight) { return packed_in<Kernel>(weight); }

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus) {
  RECORD_FUNCTION("sdgen::conv2d_int8", {});
  const Kernel& kernel = *packed_in<Kernel>(weight);
  TORCH_CHECK(cpu::takes(x) && x.dim() == 4 && x.size(1) == kernel.channels, "conv2d: ", x.sizes(),
              " does not go with ", weight.sizes());
  const Tensor in = with_adjoining_channels(x), added = plus.defined() ? with_adjoining_channels(plus) : plus,
               offset = bias.defined() ? bias.to(at::kFloat).contiguous() : bias,
               out = at::empty({x.size(0), kernel.columns, x.size(2), x.size(3)},
                               x.options().memory_format(at::MemoryFormat::ChannelsLast));
  TORCH_CHECK(!plus.defined() || (plus.sizes() == out.sizes() && plus.scalar_type() == out.scalar_type()),
              "conv2d: ", plus.sizes(), " is not added to ", out.sizes());
  TORCH_CHECK(!bias.defined() || bias.numel() == kernel.columns, "conv2d: a bias of ", bias.sizes());
  if (out.numel() == 0) return out;
  cpu::by_type(x, [&]<class T>(T) {
    const Cells cells = rounded(pixels_of(cpu::numbers<const T>(in), in), x.size(0), kernel.channels, kernel.side / 2);
    Convolution<T> operands{cells,
                            kernel,
                            offset.defined() ? offset.const_data_ptr<float>() : nullptr,
                            {},
                            pixels_of(cpu::numbers<T>(out), out)};
    if (added.defined()) operands.plus = pixels_of(cpu::numbers<const T>(added), added);
    convolve(operands);
  });
  return out;
}

}  // namespace sdgen::ops::int8
