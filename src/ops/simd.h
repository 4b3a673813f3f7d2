// Vectors of floats in plain C++, by GCC's and Clang's vector extension, as wide as the instruction set's registers.
// Only for src/ops/vector_kernels.cpp, which is compiled once for each instruction set: everything here is inlined, and
// nothing of the standard library that the linker could merge with another file's copy is used.
#pragma once

#include <cstdint>

#include "ops/kernels.h"

namespace sdgen::simd {

using ops::bfloat16;

#if defined(__AVX512F__)
constexpr std::int64_t kWidth = 16;
#elif defined(__AVX2__)
constexpr std::int64_t kWidth = 8;
#else
constexpr std::int64_t kWidth = 4;
#endif

using Floats = float __attribute__((vector_size(kWidth * 4)));
using Ints = std::int32_t __attribute__((vector_size(kWidth * 4)));
using Words = std::uint32_t __attribute__((vector_size(kWidth * 4)));
using Halves = std::uint16_t __attribute__((vector_size(kWidth * 2)));

#define SDGEN_INLINE [[gnu::always_inline]] inline

SDGEN_INLINE Floats broadcast(float x) { return x - Floats{}; }

template <class To, class From>
SDGEN_INLINE To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

SDGEN_INLINE Floats load(const float* from) {
  Floats x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
SDGEN_INLINE Floats load(const bfloat16* from) {  // the upper half of a float32
  Halves x;
  __builtin_memcpy(&x, from, sizeof x);
  return bits<Floats>(__builtin_convertvector(x, Words) << 16);
}

SDGEN_INLINE void store(float* to, Floats x) { __builtin_memcpy(to, &x, sizeof x); }
SDGEN_INLINE void store(bfloat16* to, Floats x) {  // to nearest, ties to even; a NaN stays one
  const Words word = bits<Words>(x);
  const Words rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16;
  const Words kept = x == x ? rounded : (word >> 16 | 0x40);  // NOLINT(misc-redundant-expression): false for a NaN
  const Halves y = __builtin_convertvector(kept, Halves);
  __builtin_memcpy(to, &y, sizeof y);
}

// The first n of them, less than kWidth.
template <class T>
SDGEN_INLINE Floats load(const T* from, std::int64_t n) {
  T all[kWidth] = {};
  __builtin_memcpy(all, from, static_cast<unsigned long>(n) * sizeof(T));
  return load(all);
}
template <class T>
SDGEN_INLINE void store(T* to, Floats x, std::int64_t n) {
  T all[kWidth];
  store(all, x);
  __builtin_memcpy(to, all, static_cast<unsigned long>(n) * sizeof(T));
}

// Calls body(i, vector-of) for whole vectors of [0, n), then once for what is left: body gets i and how many.
template <class Body>
SDGEN_INLINE void for_each_vector(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) body(i, kWidth);
  if (i < n) body(i, n - i);
}
template <class T>
SDGEN_INLINE Floats load_some(const T* from, std::int64_t n) {
  return n == kWidth ? load(from) : load(from, n);
}
template <class T>
SDGEN_INLINE void store_some(T* to, Floats x, std::int64_t n) {
  if (n == kWidth)
    store(to, x);
  else
    store(to, x, n);
}

SDGEN_INLINE Floats max(Floats a, Floats b) { return a > b ? a : b; }
SDGEN_INLINE Floats min(Floats a, Floats b) { return a < b ? a : b; }

// Of all of them, by halves.
template <class Join>
SDGEN_INLINE float folded(Floats x, const Join& join) {
#if defined(__AVX512F__)
  x = join(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  x = join(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  x = join(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
  x = join(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif defined(__AVX2__)
  x = join(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
  x = join(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
  x = join(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#else
  x = join(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
  x = join(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
#endif
  return x[0];
}
SDGEN_INLINE float sum(Floats x) {
  return folded(x, [](Floats a, Floats b) { return a + b; });
}
SDGEN_INLINE float max(Floats x) {
  return folded(x, [](Floats a, Floats b) { return max(a, b); });
}

// Of neighbours (a, b): (b, a), (a, a) and (b, b).
#if defined(__AVX512F__)
#define SDGEN_NEIGHBOURS(x, a, b)                                                                                     \
  __builtin_shufflevector(x, x, a, b, 2 + a, 2 + b, 4 + a, 4 + b, 6 + a, 6 + b, 8 + a, 8 + b, 10 + a, 10 + b, 12 + a, \
                          12 + b, 14 + a, 14 + b)
#elif defined(__AVX2__)
#define SDGEN_NEIGHBOURS(x, a, b) __builtin_shufflevector(x, x, a, b, 2 + a, 2 + b, 4 + a, 4 + b, 6 + a, 6 + b)
#else
#define SDGEN_NEIGHBOURS(x, a, b) __builtin_shufflevector(x, x, a, b, 2 + a, 2 + b)
#endif
SDGEN_INLINE Floats swapped(Floats x) { return SDGEN_NEIGHBOURS(x, 1, 0); }
SDGEN_INLINE Floats firsts(Floats x) { return SDGEN_NEIGHBOURS(x, 0, 0); }
SDGEN_INLINE Floats seconds(Floats x) { return SDGEN_NEIGHBOURS(x, 1, 1); }
#undef SDGEN_NEIGHBOURS

// Pairs (a, b) as complex numbers, times (c, d).
SDGEN_INLINE Floats times_complex(Floats ab, Floats cd) {
  constexpr float signs[] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
  return ab * firsts(cd) + swapped(ab) * (seconds(cd) * load(signs));
}

// e^x to 2 units in the last place: x = n ln 2 + r, and a polynomial in r (the Taylor series to r^7: |r| <= 0.35).
// Outside [-87, 88] it is e^-87 and e^88; a NaN is e^-87.
SDGEN_INLINE Floats exp(Floats x) {
  x = min(max(x, broadcast(-87.0f)), broadcast(88.0f));
  const Floats shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const Floats shifted = x * 1.44269504f + shifter;
  const Floats n = shifted - shifter;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts (Cody and Waite)
  Floats p = broadcast(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return bits<Floats>(bits<Ints>(p) + (bits<Ints>(shifted) << 23));  // times 2^n
}

// x sigmoid(x)
SDGEN_INLINE Floats silu(Floats x) { return x / (1.0f + exp(-x)); }

// x Phi(x), by erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
SDGEN_INLINE Floats gelu(Floats x) {
  const Floats z = x * 0.70710678f, a = z < 0.0f ? -z : z;
  const Floats t = 1.0f / (1.0f + 0.3275911f * a);
  Floats p = broadcast(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  // 1 - Phi(|x|). The exponential stops at e^-60, so that the result is not subnormal: a product with such a number
  // takes a hundred times as long.
  const Floats upper = 0.5f * p * t * exp(max(-a * a, broadcast(-60.0f)));
  return x * (x < 0.0f ? upper : 1.0f - upper);
}

// The same by tanh: x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)) (Hendrycks and Gimpel, 2016).
SDGEN_INLINE Floats gelu_tanh(Floats x) { return x / (1.0f + exp(x * (-1.59576912f - 0.0713548162f * (x * x)))); }

// x Phi(x) to 6e-5 for |x| <= 12, which is less than what bfloat16 makes of the sums it goes into. Phi(x) - 1/2 is x
// times a polynomial in x^2, of least largest error up to 4.5 and there 1/2: below -4.5 nothing is left.
SDGEN_INLINE Floats gelu_roughly(Floats x) {
  const Floats near = min(max(x, broadcast(-4.5f)), broadcast(4.5f)), u = near * near;
  Floats p = broadcast(2.9998809e-11f);
  p = p * u - 3.28379746e-9f;
  p = p * u + 1.58021379e-7f;
  p = p * u - 4.43159661e-6f;
  p = p * u + 8.12086728e-5f;
  p = p * u - 1.03624619e-3f;
  p = p * u + 9.58062615e-3f;
  p = p * u - 6.59772232e-2f;
  p = p * u + 0.398708552f;
  return x * (near * p + 0.5f);
}

}  // namespace sdgen::simd
