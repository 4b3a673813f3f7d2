// Loops of src/ops/kernels.h whose results the operators' own tests average away.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu.h"

namespace sdgen::ops {
namespace {

// Every weight of attention is the nearest bfloat16: cut off, they would be up to twice as far away, and all too small.
TEST(RowKernels, WeightsAreRounded) {
  constexpr std::int64_t count = 4096;
  std::vector<float> scores(count);
  for (std::int64_t i = 0; i < count; ++i) scores[std::size_t(i)] = static_cast<float>(i % 997) / 128.0f;
  std::vector<bfloat16> weights(count);
  const float sum = cpu::row_kernels<bfloat16>().weigh(scores.data(), count, 1.5f, 12.0f, weights.data());
  double total = 0, off = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double right = std::exp2(1.5 * scores[i] - 12), got = cpu::value(weights[i]);
    EXPECT_LE(std::abs(got / right - 1), 1.0 / 256 + 2e-4) << i;  // half of the last of eight bits
    total += got, off += (got / right - 1) / count;
  }
  EXPECT_LE(std::abs(off), 2e-4) << "on the average nothing is lost";
  EXPECT_NEAR(sum, total, 1e-4 * total) << "the sum is of what was stored";
}

// What an activation leaves of a number far below zero is not subnormal: a processor takes a hundred times as long for
// a product with such a number.
TEST(RowKernels, ActivationsLeaveNothingSubnormal) {
  std::vector<float> x;
  for (float far = 1; far < 3000; far *= 1.01f) x.push_back(-far);
  const auto expect_normal = [&](const char* name, const auto& act) {
    std::vector<float> y(x.size());
    act(x.data(), std::int64_t(x.size()), y.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NE(std::fpclassify(y[i]), FP_SUBNORMAL) << name << " of " << x[i];
      EXPECT_LE(std::abs(y[i]), 0.3f) << name << " of " << x[i];
    }
  };
  const RowKernels<float>& rows = cpu::row_kernels<float>();
  expect_normal("gelu", rows.gelu);
  expect_normal("gelu_tanh", rows.gelu_tanh);
  expect_normal("silu", rows.silu);
  expect_normal("quick_gelu", rows.quick_gelu);
  expect_normal("geglu", [&](const float* from, std::int64_t n, float* to) {
    std::vector<float> halves(std::size_t(2 * n), 0.01f);
    std::copy_n(from, n, halves.begin() + n);
    rows.geglu(halves.data(), 1, n, to);
  });
}

}  // namespace
}  // namespace sdgen::ops
