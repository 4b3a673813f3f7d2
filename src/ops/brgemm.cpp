#include "ops/brgemm.h"

#include <ATen/native/CPUBlas.h>

namespace sdgen::ops {
namespace {

bool brgemm_is_right() {
  constexpr std::int64_t m = 3, n = 16, k = 4;
  const auto of = [](std::int64_t x) { return bfloat16{c10::BFloat16(static_cast<float>(x)).x}; };
  bfloat16 a[m * k], b[k * n];
  float c[m * n] = {};
  for (std::int64_t i = 0; i < m * k; ++i) a[i] = of(i % 5);
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t j = 0; j < n; ++j) b[(i / 2 * n + j) * 2 + i % 2] = of(i * 3 + j % 7);
  try {
    brgemm({m, n, k}, a, k, b, false, c);
    release_brgemm();
  } catch (const c10::Error&) {
    return false;
  }
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      float right = 0;
      for (std::int64_t l = 0; l < k; ++l) right += static_cast<float>((i * k + l) % 5 * (l * 3 + j % 7));
      if (c[i * n + j] != right) return false;
    }
  return true;
}

bool brgemm_int8_is_right() {
  constexpr std::int64_t m = 3, n = 16, k = 8;
  std::uint8_t a[m * k];
  std::int8_t b[k * n];
  std::int32_t c[m * n] = {};
  const auto of_a = [](std::int64_t i) { return static_cast<int>((i * 37 + 200) % 256); };  // beyond 127 too
  const auto of_b = [](std::int64_t i) { return static_cast<int>(i * 29 % 255) - 127; };
  for (std::int64_t i = 0; i < m * k; ++i) a[i] = static_cast<std::uint8_t>(of_a(i));
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t j = 0; j < n; ++j) b[(i / 4 * n + j) * 4 + i % 4] = static_cast<std::int8_t>(of_b(i * n + j));
  try {
    brgemm({m, n, k}, a, k, b, false, c);
    release_brgemm();
  } catch (const c10::Error&) {
    return false;
  }
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      int right = 0;
      for (std::int64_t l = 0; l < k; ++l) right += of_a(i * k + l) * of_b(l * n + j);
      if (c[i * n + j] != right) return false;
    }
  return true;
}

}  // namespace

bool has_brgemm_int8() {
  static const bool works = brgemm_int8_is_right();
  return works;
}

void brgemm(const SmallProduct& size, const std::uint8_t* a, std::int64_t a_stride, const std::int8_t* b, bool add,
            std::int32_t* c) {
  at::native::cpublas::brgemm(size.m, size.n, size.k, a_stride, size.n, size.n, add, a,
                              reinterpret_cast<const signed char*>(b), c, /*is_vnni=*/true);
}

bool has_brgemm() {
  static const bool works = brgemm_is_right();
  return works;
}

void brgemm(const SmallProduct& size, const bfloat16* a, std::int64_t a_stride, const bfloat16* b, bool add, float* c) {
  const auto as_torch_has_it = [](const bfloat16* x) { return reinterpret_cast<const c10::BFloat16*>(x); };
  at::native::cpublas::brgemm(size.m, size.n, size.k, a_stride, size.n, size.n, add, as_torch_has_it(a),
                              as_torch_has_it(b), c, /*is_vnni=*/true);
}

void release_brgemm() { at::native::cpublas::brgemm_release(/*is_vnni=*/true); }

}  // namespace sdgen::ops
