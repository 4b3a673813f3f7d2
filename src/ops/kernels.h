// The loops where the time goes on a CPU, compiled for each instruction set and chosen when the program runs. No torch
// here: pointers, sizes and strides, counted in elements. A row's result depends on that row alone, never on how many
// there are, where it lies, or which thread computes it.
#pragma once

#include <cstdint>

namespace sdgen::ops {

// The upper half of a float32, as c10::BFloat16 has it.
struct bfloat16 {
  std::uint16_t bits;
};

// A product of rows with the columns of a weight:
//   out[i][n] = bias[n] + plus[i][n] + sum of rows[t][i][c] * weight[n][t][c] over taps t and channels c
// A matrix product has one tap; a convolution one for each pixel of its kernel, whose rows are the pixels that it sees.
// The sum is taken in an order that taps and channels alone decide.
struct Product {
  const float* const* rows;  // [taps][row_stride], of which `count` are used; `channels` numbers each
  std::int64_t row_stride, count, taps, channels;
  const float* panels;       // the weight as Kernels::pack lays it out
  std::int64_t begin, end;   // columns that are wanted; begin is a multiple of Kernels::panel
  float* const* out;         // [count], each with room for all columns
  const float* const* plus;  // [count], or null; may be `out`
  const float* bias;         // of all columns, or null
  const float* next;  // where the weight of the product after this one begins, which is fetched meanwhile, or null
};

// Loops over rows of T: float or bfloat16, computed in float32.
template <class T>
struct RowKernels {
  // Of n pixels of `channels`: for each channel the sum of x - origin and of its square.
  void (*add_moments)(const T* x, const T* origin, std::int64_t n, std::int64_t channels, float* sum, float* squares);
  // to = act(x * scale + offset) for n pixels of `channels`; act is silu or nothing.
  void (*scale_pixels)(const T* x, std::int64_t n, std::int64_t channels, const float* scale, const float* offset,
                       bool silu, T* to);
  // Rows [2 width] -> [width]: the first half times gelu of the second.
  void (*geglu)(const T* x, std::int64_t rows, std::int64_t width, T* to);
  // x Phi(x), the same by tanh, x sigmoid(x), x sigmoid(1.702 x)
  void (*gelu)(const T* x, std::int64_t n, T* to);
  void (*gelu_tanh)(const T* x, std::int64_t n, T* to);
  void (*silu)(const T* x, std::int64_t n, T* to);
  void (*quick_gelu)(const T* x, std::int64_t n, T* to);
  // weights = 2^(scale score - offset) of n scores, a multiple of 16; returns their sum.
  float (*weigh)(const float* scores, std::int64_t n, float scale, float offset, T* weights);
  float (*length)(const T* x, std::int64_t n);  // Euclid's
  void (*scale)(const float* x, float factor, T* to, std::int64_t n);
  // to = (x - mean) / sqrt(variance + eps) * scale + offset, of each of the rows [width]; `to` may be x.
  void (*norm_rows)(const T* x, std::int64_t rows, std::int64_t width, float eps, const float* scale,
                    const float* offset, T* to);
  // to = x / sqrt(mean of its squares + eps) * weight, of each of the rows [width], then every pair of neighbours
  // turned by a cosine and a sine, turns [width]. Without a weight nothing is normalised, without turns nothing turned.
  void (*turned_rows)(const T* x, std::int64_t rows, std::int64_t width, float eps, const float* weight,
                      const float* turns, T* to);
  float (*dot)(const T* x, const float* y, std::int64_t n);  // the sum of their products
  // to = sums + bias + plus of n numbers; bias and plus may be null.
  void (*finish)(const float* sums, const float* bias, const T* plus, T* to, std::int64_t n);
  // to = x / scale, rounded to whole numbers, ties to even, plus 128; the largest is 127 from 0. Returns the scale: 0,
  // with numbers of 128, where all are zero; a NaN or an infinity where there is one, with numbers that mean nothing.
  float (*quantize)(const T* x, std::int64_t n, std::uint8_t* to);
  // to = (products - 128 sums) * factor * scales + bias + plus of n numbers; bias and plus may be null.
  void (*finish_int8)(const std::int32_t* products, const std::int32_t* sums, float factor, const float* scales,
                      const float* bias, const T* plus, T* to, std::int64_t n);
};

struct Kernels {
  std::int64_t panel;         // columns that lie side by side in a packed weight
  std::int64_t rows_at_once;  // of a product that should share a pass over the weight: so many stay in the cache
  // Numbers that a packed weight takes, and the packing: panels of [taps * channels][panel], the last one padded with
  // zeros. weight[n * column_stride + t * tap_stride + c * channel_stride].
  std::int64_t (*packed_size)(std::int64_t columns, std::int64_t taps, std::int64_t channels);
  void (*pack)(const float* weight, std::int64_t columns, std::int64_t taps, std::int64_t channels,
               std::int64_t column_stride, std::int64_t tap_stride, std::int64_t channel_stride, float* to);
  void (*multiply)(const Product& product);
  // Of winograd.h: 16 numbers for each channel of the 16 pixels that a tile sees, the i-th at to + i * stride; and of
  // its 16 products, the i-th at from + i * stride, n columns of its four results. plus, and bias, may be null.
  void (*winograd_in)(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride);
  void (*winograd_out)(const float* from, std::int64_t stride, std::int64_t n, const float* bias,
                       const float* const* plus, float* const* out);
  float (*largest)(const float* x, std::int64_t n);  // n is a multiple of 16
  RowKernels<float> of_float;
  RowKernels<bfloat16> of_bfloat16;
};

// One for each instruction set that CMakeLists.txt compiles; those that this processor lacks must not be called.
namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

// The fastest set that this processor has and that ATEN_CPU_CAPABILITY allows.
const Kernels& kernels();

}  // namespace sdgen::ops
