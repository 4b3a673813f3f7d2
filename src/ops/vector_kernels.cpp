// The loops of kernels.h. CMake compiles this file once for each instruction set, with SDGEN_KERNELS as the namespace
// of its table. Everything has internal linkage, and no standard header is included: otherwise the linker could keep
// this file's copy of an inline function, with instructions that the processor lacks, for the whole program.
#include <cstdint>

#include "ops/kernels.h"
#include "ops/panel_products.h"
#include "ops/simd.h"
#include "ops/winograd_tiles.h"

#ifndef SDGEN_KERNELS
#define SDGEN_KERNELS baseline
#endif

namespace sdgen::ops {
namespace {

using namespace simd;

// --- Rows

template <class T>
void add_moments(const T* x, const T* origin, Index n, Index channels, float* sum, float* squares) {
  for_each_vector(channels, [=](Index c, Index m) {
    Floats s = broadcast(0), q = broadcast(0);
    const Floats from = load_some(origin + c, m);
    for (Index i = 0; i < n; ++i) {
      const Floats y = load_some(x + i * channels + c, m) - from;
      s += y;
      q += y * y;
    }
    store_some(sum + c, s, m);
    store_some(squares + c, q, m);
  });
}

template <bool with_silu, class T>
SDGEN_INLINE void scale_pixels_by(const T* x, Index n, Index channels, const float* scale, const float* offset, T* to) {
  for (Index i = 0; i < n; ++i, x += channels, to += channels)
    for_each_vector(channels, [=](Index c, Index m) {
      const Floats y = load_some(x + c, m) * load_some(scale + c, m) + load_some(offset + c, m);
      store_some(to + c, with_silu ? simd::silu(y) : y, m);
    });
}
template <class T>
void scale_pixels(const T* x, Index n, Index channels, const float* scale, const float* offset, bool silu, T* to) {
  if (silu)
    scale_pixels_by<true>(x, n, channels, scale, offset, to);
  else
    scale_pixels_by<false>(x, n, channels, scale, offset, to);
}

SDGEN_INLINE Floats gelu_for(const float*, Floats x) { return simd::gelu(x); }
SDGEN_INLINE Floats gelu_for(const bfloat16*, Floats x) { return gelu_roughly(x); }

template <class T>
void geglu(const T* x, Index rows, Index width, T* to) {
  for (Index i = 0; i < rows; ++i, x += 2 * width, to += width)
    for_each_vector(width, [=](Index j, Index m) {
      store_some(to + j, load_some(x + j, m) * gelu_for(x, load_some(x + width + j, m)), m);
    });
}

template <class T>
void gelu(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, gelu_for(x, load_some(x + i, m)), m); });
}
template <class T>
void gelu_tanh(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, simd::gelu_tanh(load_some(x + i, m)), m); });
}
template <class T>
void silu(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, simd::silu(load_some(x + i, m)), m); });
}
template <class T>
void quick_gelu(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) {
    const Floats y = load_some(x + i, m);
    store_some(to + i, y / (1.0f + simd::exp(-1.702f * y)), m);
  });
}

// 2^x for x < 127, to 2e-7 in float32 and, by a polynomial of least largest error, to 1e-4 for bfloat16's weights;
// below 2^-126 that.
SDGEN_INLINE Floats exp2_for(const float*, Floats f) {  // the Taylor series of e^(f ln 2), |f| <= 1/2
  Floats p = (broadcast(1.52527338e-5f) * f + 1.54035304e-4f) * f + 1.33335581e-3f;
  p = p * f + 9.61812911e-3f;
  p = p * f + 5.55041087e-2f;
  p = p * f + 2.40226507e-1f;
  p = p * f + 6.93147181e-1f;
  return p * f + 1.0f;
}
SDGEN_INLINE Floats exp2_for(const bfloat16*, Floats f) {
  Floats p = broadcast(5.58263178e-2f) * f + 2.42630824e-1f;
  p = p * f + 6.93120360e-1f;
  return p * f + 9.99924183e-1f;
}
template <class T>
SDGEN_INLINE Floats exp2(const T* kind, Floats x) {
  x = simd::max(x, broadcast(-126.0f));
  const Floats shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const Floats shifted = x + shifter;
  const Floats p = exp2_for(kind, x - (shifted - shifter));
  return bits<Floats>(bits<Ints>(p) + (bits<Ints>(shifted) << 23));
}

// Returns what was stored: sums of that make the weights' rounding errors cancel where one weight is nearly all.
SDGEN_INLINE Floats store_weight(float* to, Floats x) {
  store(to, x);
  return x;
}
SDGEN_INLINE Floats store_weight(bfloat16* to, Floats x) {  // never a NaN, and a tie may go up
  const Words rounded = bits<Words>(x) + 0x8000;
  const Halves y = __builtin_convertvector(rounded >> 16, Halves);
  __builtin_memcpy(to, &y, sizeof y);
  return bits<Floats>(rounded & 0xFFFF0000);
}

template <class T>
float weigh(const float* scores, Index n, float scale, float offset, T* weights) {
  Floats total = broadcast(0);
  for (Index i = 0; i < n; i += kWidth)
    total += store_weight(weights + i, exp2(weights, load(scores + i) * scale - offset));
  return simd::sum(total);
}

float largest(const float* x, Index n) {
  Floats most = load(x);
  for (Index i = kWidth; i < n; i += kWidth) most = simd::max(most, load(x + i));
  return simd::max(most);
}

template <class T>
float length(const T* x, Index n) {
  Floats squares = broadcast(0);
  for_each_vector(n, [&](Index i, Index m) {
    const Floats y = load_some(x + i, m);
    squares += y * y;
  });
  return __builtin_sqrtf(simd::sum(squares));
}

template <class T>
void scale(const float* x, float factor, T* to, Index n) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, load_some(x + i, m) * factor, m); });
}

// Of a row's numbers: f of each, summed.
template <class T, class F>
SDGEN_INLINE float sum_over(const T* x, Index n, const F& f) {
  Floats total = broadcast(0);
  Index i = 0;
  for (; i + kWidth <= n; i += kWidth) total += f(load(x + i));
  float rest = 0;
  for (; i < n; ++i) rest += f(load(x + i, 1))[0];
  return simd::sum(total) + rest;
}

template <class T>
void norm_rows(const T* x, Index rows, Index width, float eps, const float* scale, const float* offset, T* to) {
  for (Index i = 0; i < rows; ++i, x += width, to += width) {
    const float mean = sum_over(x, width, [](Floats y) { return y; }) / static_cast<float>(width);
    const float squares = sum_over(x, width, [=](Floats y) { return (y - mean) * (y - mean); });
    const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
    for_each_vector(width, [=](Index j, Index m) {
      const Floats y = (load_some(x + j, m) - mean) * factor;
      store_some(to + j, y * load_some(scale + j, m) + load_some(offset + j, m), m);
    });
  }
}

template <bool with_weight, bool with_turns, class T>
SDGEN_INLINE void turned_rows_by(const T* x, Index rows, Index width, float eps, const float* weight,
                                 const float* turns, T* to) {
  for (Index i = 0; i < rows; ++i, x += width, to += width) {
    float factor = 1;
    if constexpr (with_weight) {
      const float squares = sum_over(x, width, [](Floats y) { return y * y; });
      factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
    }
    for_each_vector(width, [=](Index j, Index m) {
      Floats y = load_some(x + j, m);
      if constexpr (with_weight) y = y * factor * load_some(weight + j, m);
      if constexpr (with_turns) y = times_complex(y, load_some(turns + j, m));
      store_some(to + j, y, m);
    });
  }
}
template <class T>
void turned_rows(const T* x, Index rows, Index width, float eps, const float* weight, const float* turns, T* to) {
  if (weight && turns)
    turned_rows_by<true, true>(x, rows, width, eps, weight, turns, to);
  else if (weight)
    turned_rows_by<true, false>(x, rows, width, eps, weight, turns, to);
  else if (turns)
    turned_rows_by<false, true>(x, rows, width, eps, weight, turns, to);
  else
    turned_rows_by<false, false>(x, rows, width, eps, weight, turns, to);
}

template <class T>
float dot(const T* x, const float* y, Index n) {
  Floats sums[4] = {};
  Index i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
#pragma GCC unroll 4
    for (Index j = 0; j < 4; ++j) sums[j] += load(x + i + j * kWidth) * load(y + i + j * kWidth);
  for_each_vector(n - i, [&](Index j, Index m) { sums[0] += load_some(x + i + j, m) * load_some(y + i + j, m); });
  return simd::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <class T>
void finish(const float* sums, const float* bias, const T* plus, T* to, Index n) {
  for_each_vector(n, [=](Index i, Index m) {
    Floats x = load_some(sums + i, m);
    if (bias) x += load_some(bias + i, m);
    if (plus) x += load_some(plus + i, m);
    store_some(to + i, x, m);
  });
}

template <class T>
float quantize(const T* x, Index n, std::uint8_t* to) {
  Floats most = broadcast(0), odd = broadcast(0);
  for_each_vector(n, [&](Index i, Index m) {
    const Floats y = load_some(x + i, m);
    most = simd::max(y < 0.0f ? -y : y, most);
    odd += y * 0.0f;  // a NaN where there is one, or an infinity
  });
  const float scale = simd::max(most) / 127.0f, factor = scale > 0 ? 1 / scale : 0;
  using Codes = std::uint8_t __attribute__((vector_size(kWidth)));
  for_each_vector(n, [&](Index i, Index m) {
    const Floats shifter = broadcast(12582912.0f + 128.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
    const Words whole = bits<Words>(load_some(x + i, m) * factor + shifter);
    const Codes codes =
        __builtin_convertvector(__builtin_convertvector(whole, Halves), Codes);  // GCC 12 needs the step
    __builtin_memcpy(to + i, &codes, static_cast<unsigned long>(m));
  });
  return scale + simd::sum(odd);
}

template <class T>
void finish_int8(const std::int32_t* products, const std::int32_t* sums, float factor, const float* scales,
                 const float* bias, const T* plus, T* to, Index n) {
  for_each_vector(n, [=](Index i, Index m) {
    Ints product{}, sum{};
    __builtin_memcpy(&product, products + i, static_cast<unsigned long>(m) * 4);
    __builtin_memcpy(&sum, sums + i, static_cast<unsigned long>(m) * 4);
    Floats x = __builtin_convertvector(product - (sum << 7), Floats) * (factor * load_some(scales + i, m));
    if (bias) x += load_some(bias + i, m);
    if (plus) x += load_some(plus + i, m);
    store_some(to + i, x, m);
  });
}

template <class T>
constexpr RowKernels<T> rows_of() {
  return {add_moments<T>, scale_pixels<T>, geglu<T>,    gelu<T>,       gelu_tanh<T>, silu<T>,
          quick_gelu<T>,  weigh<T>,        length<T>,   scale<T>,      norm_rows<T>, turned_rows<T>,
          dot<T>,         finish<T>,       quantize<T>, finish_int8<T>};
}

}  // namespace

namespace SDGEN_KERNELS {
const Kernels kernels = {kPanel,           kRowsAtOnce,        packed_size,        pack,
                         multiply,         simd::winograd_in,  simd::winograd_out, largest,
                         rows_of<float>(), rows_of<bfloat16>()};
}

}  // namespace sdgen::ops
