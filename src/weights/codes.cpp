#include "weights/codes.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "io/decode.h"
#include "ops/kernels.h"

namespace sdgen {
namespace {

constexpr std::int64_t kTile = 24 << 20;  // bytes of numbers that there are at once

// to = x * scale
void scale_row(const std::vector<float>& x, float scale, float* to) {
  ops::kernels().of_float.scale(x.data(), scale, to, std::int64_t(x.size()));
}
void scale_row(const std::vector<float>& x, float scale, at::BFloat16* to) {
  ops::kernels().of_bfloat16.scale(x.data(), scale, reinterpret_cast<ops::bfloat16*>(to), std::int64_t(x.size()));
}
template <class T>
void scale_row(const std::vector<float>& x, float scale, T* to) {
  std::ranges::transform(x, to, [scale](float number) { return static_cast<T>(number * scale); });
}

}  // namespace

void Codes::widen(std::int64_t first, const at::Tensor& to) const {
  RECORD_FUNCTION("sdgen::widen", {});
  const std::int64_t row = bytes.size(1);
  const auto* codes = static_cast<const std::byte*>(bytes.const_data_ptr());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, to.scalar_type(), "widen", [&] {
    auto* numbers = to.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, to.size(0), std::max<std::int64_t>(1, 65536 / in), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> exact(static_cast<std::size_t>(in));
      for (std::int64_t i = begin; i < end; ++i) {
        decode(encoding, {codes + (first + i) * row, static_cast<std::size_t>(row)}, exact.data());
        const float scale = scales.empty() ? 1 : scales.size() == 1 ? scales[0] : scales[std::size_t(first + i)];
        scale_row(exact, scale, numbers + i * in);
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

at::Tensor Codes::dense(at::ScalarType type) const {
  const at::Tensor numbers = at::empty({out, in}, at::TensorOptions().dtype(type));
  widen(0, numbers);
  return numbers;
}

}  // namespace sdgen
