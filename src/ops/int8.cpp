#include "ops/int8.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "ops/brgemm.h"
#include "ops/buffer.h"
#include "ops/code_kernels.h"
#include "ops/cpu.h"

namespace sdgen::ops {
namespace {

constexpr std::int64_t kColumnsAtOnce = 64, kTokensAtOnce = 128, kDepth = 1024;

// Tokens as whole numbers plus 128, and what they are to be multiplied by.
struct Tokens {
  Buffer<std::uint8_t> numbers;
  std::vector<float> scales;
};

template <class T>
Tokens quantized_tokens(const T* x, std::int64_t rows, std::int64_t in) {
  Tokens tokens{Buffer<std::uint8_t>(rows * in), std::vector<float>(std::size_t(rows))};
  at::parallel_for(0, rows, std::max<std::int64_t>(1, 65536 / in), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      tokens.scales[std::size_t(i)] = cpu::row_kernels<T>().quantize(x + i * in, in, tokens.numbers.get() + i * in);
  });
  return tokens;
}

template <class T>
struct Int8Operands {
  const T* plus;      // or null
  const float* bias;  // or null
  T* y;
};

template <class T>
void multiply(const Tokens& tokens, const Int8Matrix& matrix, const Int8Operands<T>& o) {
  const std::int64_t out = matrix.weight.size(0), in = matrix.weight.size(1), rows = std::int64_t(tokens.scales.size()),
                     groups = (out + kColumnsAtOnce - 1) / kColumnsAtOnce, words = in / 4;
  const auto* weight = static_cast<const std::uint32_t*>(matrix.weight.const_data_ptr());
  const auto* scales = matrix.scales.const_data_ptr<float>();
  const auto* sums = matrix.sums.const_data_ptr<std::int32_t>();
  std::atomic<std::int64_t> next = 0;
  at::parallel_for(0, std::min<std::int64_t>(at::get_num_threads(), groups), 1, [&](std::int64_t, std::int64_t) {
    const Buffer<std::uint32_t> columns(words * kColumnsAtOnce);
    const Buffer<std::int32_t> products(kTokensAtOnce * kColumnsAtOnce);
    for (std::int64_t group; (group = next++) < groups;) {
      const std::int64_t first = group * kColumnsAtOnce, count = std::min(kColumnsAtOnce, out - first);
      if (count < kColumnsAtOnce) std::fill_n(columns.get(), words * kColumnsAtOnce, 0U);
      code_kernels().transpose(weight + first * words, count, words, words, columns.get(), kColumnsAtOnce);
      for (std::int64_t row = 0; row < rows; row += kTokensAtOnce) {
        const std::int64_t n = std::min(kTokensAtOnce, rows - row);
        for (std::int64_t at = 0; at < in; at += kDepth)
          brgemm({n, kColumnsAtOnce, std::min(kDepth, in - at)}, tokens.numbers.get() + row * in + at, in,
                 reinterpret_cast<const std::int8_t*>(columns.get() + at / 4 * kColumnsAtOnce), at > 0, products.get());
        for (std::int64_t i = 0; i < n; ++i) {
          const std::int64_t to = (row + i) * out + first;
          cpu::row_kernels<T>().finish_int8(
              products.get() + i * kColumnsAtOnce, sums + first, tokens.scales[std::size_t(row + i)], scales + first,
              o.bias ? o.bias + first : nullptr, o.plus ? o.plus + to : nullptr, o.y + to, count);
        }
      }
    }
    release_brgemm();
  });
}

}  // namespace

bool has_int8() { return has_brgemm_int8(); }

bool multiplies_int8(std::int64_t in) { return in > 0 && in % 4 == 0 && in <= 65536; }

Int8Matrix int8_matrix(const Tensor& weight, const Tensor& scales) {
  TORCH_CHECK(weight.scalar_type() == at::kChar && weight.dim() == 2 && weight.is_contiguous() &&
                  scales.scalar_type() == at::kFloat && scales.is_contiguous() && scales.numel() == weight.size(0),
              "weights of ", weight.sizes(), " and scales of ", scales.sizes(), " are no int8 matrix");
  TORCH_CHECK(multiplies_int8(weight.size(1)), "a matrix of ", weight.sizes(), " cannot be multiplied in int8");
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const Tensor sums = at::empty({out}, weight.options().dtype(at::kInt));
  const auto* from = weight.const_data_ptr<std::int8_t>();
  auto* to = sums.mutable_data_ptr<std::int32_t>();
  at::parallel_for(0, out, std::max<std::int64_t>(1, 65536 / in), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      to[row] = std::accumulate(from + row * in, from + (row + 1) * in, std::int32_t{0});
  });
  return {weight, scales, sums};
}

Tensor linear_int8(const Tensor& x, const Int8Matrix& matrix, const Tensor& bias, const Tensor& plus) {
  RECORD_FUNCTION("sdgen::linear_int8", {});
  const std::int64_t out = matrix.weight.size(0), in = matrix.weight.size(1);
  TORCH_CHECK(cpu::takes(x) && x.size(-1) == in, "linear: ", x.sizes(), " does not go with ", matrix.weight.sizes());
  TORCH_CHECK(!wants_gradient(x, bias, plus), "products in int8 have no gradients");
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = out;
  const Tensor from = x.contiguous(), y = at::empty(sizes, x.options()),
               added = plus.defined() ? plus.contiguous() : plus,
               offset = bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
  if (y.numel() == 0) return y;
  cpu::by_type(x, [&]<class T>(T) {
    multiply<T>(quantized_tokens(cpu::numbers<const T>(from), y.numel() / out, in), matrix,
                {added.defined() ? cpu::numbers<const T>(added) : nullptr,
                 offset.defined() ? offset.const_data_ptr<float>() : nullptr, cpu::numbers<T>(y)});
  });
  return y;
}

}  // namespace sdgen::ops
