// Convolutions in whole numbers, against what they are defined to be.
#include "ops/int8_conv.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/round.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/fixture.h"
#include "ops/int8.h"
#include "ops/ops.h"

namespace sdgen {
namespace {

using at::Tensor;

// Whole numbers of 8 bits times a scale, the largest of which is 127: those of a pixel, or of a row of the weight.
Tensor rounded(const Tensor& x, at::IntArrayRef together) {
  const Tensor step = x.to(at::kFloat).abs().amax(together, /*keepdim=*/true) / 127.0f,
               factor = at::where(step > 0, step.reciprocal(), at::zeros_like(step));
  return at::round(x.to(at::kDouble) * factor.to(at::kDouble)) * step.to(at::kDouble);
}

Tensor reference(const Tensor& x, const Tensor& weight) {
  return at::conv2d(rounded(x, {1}), rounded(weight, {1, 2, 3}), {}, 1, weight.size(2) / 2);
}

class Int8Convolutions : public testing::Test {
 protected:
  void SetUp() override {
    if (!ops::has_int8()) GTEST_SKIP() << "this processor has no products of 8-bit numbers";
    at::manual_seed(7);
  }
  static Tensor picture(at::IntArrayRef sizes) { return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast); }
  static Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Tensor& plus = {}) {
    return ops::conv2d(x, ops::int8::packed_conv2d(weight), bias, 1, weight.size(2) / 2, plus);
  }
};

// Sizes with a ragged end in every direction: pictures, columns of the result, channels that are summed.
TEST_F(Int8Convolutions, AreExactInWholeNumbers) {
  for (const std::int64_t side : {1, 3})
    for (const std::int64_t in : {32, 100, 1032})
      for (const std::int64_t out : {32, 70, 128})
        for (const auto& size : {std::array<std::int64_t, 2>{1, 1}, {2, 3}, {9, 16}, {17, 30}}) {
          SCOPED_TRACE(testing::Message()
                       << side << "x" << side << ", " << in << " to " << out << ", " << size[0] << "x" << size[1]);
          const Tensor x = picture({2, in, size[0], size[1]}), weight = at::randn({out, in, side, side}) * 0.1,
                       bias = at::randn({out}), plus = picture({2, out, size[0], size[1]});
          x.select(2, 0).select(2, 0).zero_();  // a pixel of nothing
          weight[3].zero_();
          const Tensor right = reference(x, weight), all = right + bias.view({1, out, 1, 1}) + plus;
          test::expect_close(conv2d(x, weight), right, 1e-6, "float32");
          test::expect_close(conv2d(x, weight, bias, plus), all, 1e-6, "float32, all");
          test::expect_close(conv2d(x.contiguous(), weight, bias, plus.contiguous()), all, 1e-6, "wherever they lie");
          const auto half = [](const Tensor& t) { return t.to(at::kBFloat16); };
          test::expect_close(conv2d(half(x), half(weight), half(bias), half(plus)),
                             reference(half(x), half(weight)) + half(bias).view({1, out, 1, 1}) + half(plus), 0.004,
                             "bfloat16");
        }
}

// As near to the convolution itself as eight bits can be.
TEST_F(Int8Convolutions, AreNearToTheConvolution) {
  const Tensor x = picture({1, 64, 12, 12}), weight = at::randn({64, 64, 3, 3});
  test::expect_close(conv2d(x, weight), at::conv2d(x, weight, {}, 1, 1), 0.015, "a hundredth, and a half");
}

TEST_F(Int8Convolutions, APixelsResultIsItsOwn) {
  const Tensor weight = at::randn({96, 64, 3, 3}), a = picture({1, 64, 20, 24}), b = 100 * picture({2, 64, 20, 24}),
               both = conv2d(at::cat({a, b}).contiguous(at::MemoryFormat::ChannelsLast), weight),
               alone = conv2d(a, weight);
  EXPECT_TRUE(at::equal(both.narrow(0, 0, 1), alone)) << "other pictures";
  const Tensor part = conv2d(a.narrow(2, 4, 9).narrow(3, 6, 11), weight);
  EXPECT_TRUE(at::equal(part.narrow(2, 1, 7).narrow(3, 1, 9), alone.narrow(2, 5, 7).narrow(3, 7, 9))) << "far pixels";
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_TRUE(at::equal(conv2d(a, weight), alone)) << "threads";
  at::set_num_threads(threads);
}

TEST_F(Int8Convolutions, WhatIsNoNumberStaysNone) {
  for (const float odd : {NAN, INFINITY, -INFINITY}) {
    Tensor x = at::ones({1, 32, 8, 8}), weight = at::ones({32, 32, 3, 3});
    x[0][5][2][2] = odd;
    Tensor y = conv2d(x, weight);
    EXPECT_FALSE(y.slice(2, 1, 4).slice(3, 1, 4).isfinite().any().item<bool>()) << odd;
    EXPECT_TRUE(y.slice(2, 4).isfinite().all().item<bool>());
    x[0][5][2][2] = 1;
    weight[7][3][1][1] = odd;
    y = conv2d(x, weight);
    EXPECT_FALSE(y.select(1, 7).isfinite().any().item<bool>()) << odd;
    EXPECT_TRUE(y.narrow(1, 8, 24).isfinite().all().item<bool>());
  }
}

TEST_F(Int8Convolutions, AreOfStrideOneAndOfManyChannels) {
  using Sizes = std::vector<std::int64_t>;
  EXPECT_TRUE(ops::int8::convolves(Sizes{320, 320, 3, 3}, 1, 1));
  EXPECT_TRUE(ops::int8::convolves(Sizes{320, 960, 1, 1}, 1, 0));
  EXPECT_FALSE(ops::int8::convolves(Sizes{320, 320, 3, 3}, 2, 1));
  EXPECT_FALSE(ops::int8::convolves(Sizes{320, 320, 3, 3}, 1, 0));
  EXPECT_FALSE(ops::int8::convolves(Sizes{320, 4, 3, 3}, 1, 1));
  EXPECT_FALSE(ops::int8::convolves(Sizes{4, 320, 3, 3}, 1, 1));
  EXPECT_FALSE(ops::int8::convolves(Sizes{320, 321, 1, 1}, 1, 0));
  EXPECT_THROW(ops::int8::packed_conv2d(at::rand({32, 33, 3, 3})), c10::Error);
}

}  // namespace
}  // namespace sdgen
