#include "weights/codes.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "ops/kernels.h"

namespace sdgen {
namespace {

constexpr std::int64_t kTile = 24 << 20;  // bytes of numbers that there are at once

void round_row(std::span<const float> x, float* to) { std::ranges::copy(x, to); }
void round_row(std::span<const float> x, at::BFloat16* to) {
  ops::kernels().of_bfloat16.scale(x.data(), 1, reinterpret_cast<ops::bfloat16*>(to), std::int64_t(x.size()));
}
template <class T>
void round_row(std::span<const float> x, T* to) {
  std::ranges::transform(x, to, [](float number) { return static_cast<T>(number); });
}

}  // namespace

void Codes::read(std::int64_t first, std::span<float> rows) const {
  const std::int64_t row = bytes.size(1), count = std::int64_t(rows.size()) / in;
  const auto* codes = static_cast<const std::byte*>(bytes.const_data_ptr()) + first * row;
  decode(scaling, encoding, {codes, static_cast<std::size_t>(count * row)}, rows.data());
  std::vector<float> needed;
  const auto start = static_cast<std::uint64_t>(first * in);
  if (scales) {
    const ScaleRange range = scales_of(scaling, start, rows.size());
    needed.resize(range.count);
    scales->read(std::int64_t(range.first), needed);
  }
  apply(scaling, start, needed, rows);
}

void Codes::widen(std::int64_t first, const at::Tensor& to) const {
  RECORD_FUNCTION("sdgen::widen", {});
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, to.scalar_type(), "widen", [&] {
    auto* numbers = to.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, to.size(0), std::max<std::int64_t>(1, 65536 / in), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> exact(static_cast<std::size_t>(in));
      for (std::int64_t i = begin; i < end; ++i) {
        read(first + i, exact);
        round_row(exact, numbers + i * in);
      }
    });
  });
}

at::Tensor Codes::times(const at::Tensor& x, const at::Tensor& bias) const {
  const at::Tensor rows = x.reshape({-1, in});
  const at::Tensor y = at::empty({rows.size(0), out}, x.options());
  const std::int64_t height = std::clamp<std::int64_t>(kTile / (in * x.element_size()), 1, out);
  const at::Tensor tile = at::empty({height, in}, x.options());
  for (std::int64_t first = 0; first < out; first += height) {
    const std::int64_t count = std::min(height, out - first);
    const at::Tensor numbers = tile.narrow(0, 0, count);
    widen(first, numbers);
    y.narrow(1, first, count)
        .copy_(at::linear(rows, numbers, bias.defined() ? std::optional(bias.narrow(0, first, count)) : std::nullopt));
  }
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = out;
  return y.view(sizes);
}

at::Tensor Codes::rows(const at::Tensor& ids, at::ScalarType type) const {
  const at::Tensor flat = ids.reshape(-1).contiguous(), numbers = at::empty({flat.numel(), in}, type);
  const auto* id = flat.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    TORCH_CHECK_INDEX(id[i] >= 0 && id[i] < out, "row ", id[i], " of a table of ", out);
    widen(id[i], numbers.narrow(0, i, 1));
  }
  std::vector<std::int64_t> sizes = ids.sizes().vec();
  sizes.push_back(in);
  return numbers.view(sizes);
}

at::Tensor Codes::dense(at::ScalarType type) const {
  const at::Tensor numbers = at::empty({out, in}, at::TensorOptions().dtype(type));
  widen(0, numbers);
  return numbers;
}

}  // namespace sdgen
