// Winograd's F(2x2, 3x3) of ops/winograd.h, as ops/kernels.h describes it: B^T d B of 4x4 pixels d, and A^T m A of 4x4
// products m. Only for src/ops/vector_kernels.cpp, as ops/simd.h.
#pragma once

#include "ops/simd.h"

namespace sdgen::simd {

SDGEN_INLINE void winograd_seen(const Floats (&d)[4], Floats (&to)[4]) {
  to[0] = d[0] - d[2];
  to[1] = d[1] + d[2];
  to[2] = d[2] - d[1];
  to[3] = d[1] - d[3];
}

static void winograd_in(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride) {
  for_each_vector(channels, [=](std::int64_t c, std::int64_t m) {
    Floats half[4][4];
#pragma GCC unroll 4
    for (std::int64_t u = 0; u < 4; ++u) {
      const Floats column[4] = {load_some(pixels[u] + c, m), load_some(pixels[4 + u] + c, m),
                                load_some(pixels[8 + u] + c, m), load_some(pixels[12 + u] + c, m)};
      Floats down[4];
      winograd_seen(column, down);
#pragma GCC unroll 4
      for (std::int64_t v = 0; v < 4; ++v) half[v][u] = down[v];
    }
#pragma GCC unroll 4
    for (std::int64_t v = 0; v < 4; ++v) {
      Floats across[4];
      winograd_seen(half[v], across);
#pragma GCC unroll 4
      for (std::int64_t u = 0; u < 4; ++u) store_some(to + (4 * v + u) * stride + c, across[u], m);
    }
  });
}

static void winograd_out(const float* from, std::int64_t stride, std::int64_t n, const float* bias,
                         const float* const* plus, float* const* out) {
  for_each_vector(n, [=](std::int64_t c, std::int64_t m) {
    Floats half[2][4];
#pragma GCC unroll 4
    for (std::int64_t u = 0; u < 4; ++u) {
      const Floats a = load_some(from + u * stride + c, m), b = load_some(from + (4 + u) * stride + c, m),
                   d = load_some(from + (8 + u) * stride + c, m), e = load_some(from + (12 + u) * stride + c, m);
      half[0][u] = a + b + d;
      half[1][u] = b - d - e;
    }
    const Floats begin = bias ? load_some(bias + c, m) : Floats{};
#pragma GCC unroll 2
    for (std::int64_t v = 0; v < 2; ++v) {
      Floats left = half[v][0] + half[v][1] + half[v][2] + begin;
      Floats right = half[v][1] - half[v][2] - half[v][3] + begin;
      if (plus) {
        left += load_some(plus[2 * v] + c, m);
        right += load_some(plus[2 * v + 1] + c, m);
      }
      store_some(out[2 * v] + c, left, m);
      store_some(out[2 * v + 1] + c, right, m);
    }
  });
}

}  // namespace sdgen::simd
