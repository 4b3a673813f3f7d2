// The operators of src/ops against ATen's composites in double precision, on every device there is.
#include "ops/ops.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <torch/version.h>

#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "device/device.h"
#include "ops/onednn.h"
#include "ops/panels.h"

namespace sdgen {
namespace {

using at::Tensor;

// float32 and bfloat16 on the CPU, and on CUDA where there is a device.
struct Place {
  at::Device device;
  at::ScalarType dtype;
};

void PrintTo(const Place& place, std::ostream* out) { *out << place.device << ' ' << place.dtype; }

class Ops : public testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (GetParam().device.is_cuda() && !open_cuda_for_tests()) GTEST_SKIP() << "there is no CUDA device";
    at::manual_seed(7);
  }
  static bool open_cuda_for_tests() {
    try {
      open_device("cuda");
      return true;
    } catch (const Error&) {
      return false;
    }
  }
  // Random numbers that the type at hand can hold, in double; `here` has them for the operator.
  Tensor random(at::IntArrayRef sizes) const { return at::randn(sizes).to(GetParam().dtype).to(at::kDouble); }
  Tensor here(const Tensor& x) const { return x.to(GetParam().device, GetParam().dtype); }
  Tensor last(const Tensor& x) const { return here(x).contiguous(at::MemoryFormat::ChannelsLast); }

  // Within the rounding of the type at hand: relative to the largest of the right numbers.
  void expect_near(const Tensor& result, const Tensor& right, double float_tolerance = 2e-6) {
    ASSERT_EQ(result.sizes(), right.sizes());
    EXPECT_EQ(result.scalar_type(), GetParam().dtype);
    const double tolerance = GetParam().dtype == at::kFloat ? float_tolerance : 1.0 / 128;
    const Tensor away = (result.to(at::kCPU, at::kDouble) - right).abs();
    EXPECT_LE(away.max().item<double>(), tolerance * right.abs().max().item<double>());
    EXPECT_LE(away.mean().item<double>(), tolerance / 4 * right.abs().max().item<double>());
  }

  c10::InferenceMode inference_;
};

// An upgrade of libtorch is a red test here and slower products there, not a program that fails.
TEST(OneDnn, HasTheUnpublishedOperatorsOfThisRelease) {
  EXPECT_TRUE(ops::onednn::has_operators("mkldnn"));
  EXPECT_FALSE(ops::onednn::has_operators("mkldnn_of_later")) << "what is not there is found";
  EXPECT_TRUE(std::string(TORCH_VERSION).starts_with("2.11."))
      << "libtorch " << TORCH_VERSION << ": compare the schemas that src/ops/onednn.cpp calls with this release's "
      << "(aten/src/ATen/native/mkldnn), run scripts/test --all and tools/bench.py, then name it here";
}

Tensor attention_of(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal) {
  const auto split = [heads](const Tensor& x) { return x.unflatten(2, {heads, -1}).transpose(1, 2); };
  return at::scaled_dot_product_attention(split(q), split(k), split(v), {}, 0.0, causal).transpose(1, 2).flatten(2);
}

TEST_P(Ops, Attention) {
  struct {
    std::int64_t batch, queries, keys, heads, width;
  } const shapes[] = {{2, 4096, 4096, 1, 40}, {1, 300, 77, 2, 40}, {2, 64, 64, 3, 80},   {1, 1, 1, 1, 8},
                      {1, 5, 1000, 2, 160},   {1, 130, 33, 1, 7},  {1, 70, 600, 1, 512}, {3, 17, 513, 2, 64}};
  for (const auto& s : shapes) {
    SCOPED_TRACE(testing::Message() << s.queries << " queries, " << s.keys << " keys, " << s.heads << " x " << s.width);
    // Large enough for the softmax to be far from a mean, and the largest score may come last.
    const Tensor q = 2 * random({s.batch, s.queries, s.heads * s.width}),
                 k = random({s.batch, s.keys, s.heads * s.width}) *
                     (1 + at::arange(s.keys, at::kDouble).view({1, -1, 1}) / static_cast<double>(s.keys)),
                 v = random({s.batch, s.keys, s.heads * s.width});
    const Tensor qs = here(q), ks = here(k), vs = here(v);
    const auto exact = [](const Tensor& x) { return x.to(at::kCPU, at::kDouble); };
    expect_near(ops::attention(qs, ks, vs, s.heads), attention_of(exact(qs), exact(ks), exact(vs), s.heads, false),
                1e-5);
  }
}

TEST_P(Ops, AttentionTakesPartsOfATensor) {
  const Tensor all = random({2, 50, 3 * 64});
  const auto parts = all.chunk(3, -1), ours = here(all).chunk(3, -1);
  expect_near(ops::attention(ours[0], ours[1], ours[2], 2), attention_of(parts[0], parts[1], parts[2], 2, false), 1e-5);
}

// A long key at right angles to all queries: the bound on the scores by lengths is so far above them that weights by it
// vanish.
TEST_P(Ops, AttentionWhereLengthsSayNothing) {
  Tensor q = random({1, 70, 64}), k = random({1, 2500, 64});  // more keys than one block has
  const Tensor v = random({1, 2500, 64});
  q.select(2, 0).zero_();
  k.select(1, 17).zero_().select(1, 0).fill_(4000);
  const Tensor qs = here(q), ks = here(k), vs = here(v);
  const auto exact = [](const Tensor& x) { return x.to(at::kCPU, at::kDouble); };
  expect_near(ops::attention(qs, ks, vs, 1), attention_of(exact(qs), exact(ks), exact(vs), 1, false), 1e-5);
}

TEST_P(Ops, AttentionOfNumbersThatAreNone) {
  Tensor q = random({1, 70, 64});
  const Tensor k = random({1, 100, 64}), v = random({1, 100, 64});
  q.select(1, 3).select(1, 5).fill_(std::numeric_limits<double>::quiet_NaN());
  const Tensor out = ops::attention(here(q), here(k), here(v), 1).to(at::kCPU, at::kDouble).isnan();
  EXPECT_TRUE(out.select(1, 3).all().item<bool>());
  EXPECT_EQ(out.sum().item<std::int64_t>(), 64);
}

TEST_P(Ops, CausalAttention) {
  const Tensor q = random({2, 77, 64}), k = random({2, 77, 64}), v = random({2, 77, 64});
  expect_near(ops::attention(here(q), here(k), here(v), 4, /*causal=*/true), attention_of(q, k, v, 4, true), 1e-5);
}

TEST_P(Ops, GroupNorm) {
  struct {
    std::int64_t batch, channels, height, width, groups;
  } const shapes[] = {
      {2, 320, 13, 9, 32}, {1, 32, 64, 64, 32}, {3, 40, 1, 7, 4}, {1, 6, 5, 5, 3}, {2, 512, 16, 16, 32}};
  for (const auto& s : shapes) {
    SCOPED_TRACE(testing::Message() << s.channels << " channels, " << s.groups << " groups");
    const Tensor x = random({s.batch, s.channels, s.height, s.width}), weight = random({s.channels}),
                 bias = random({s.channels}), shift = random({s.batch, s.channels});
    for (const bool shifted : {false, true})
      for (const Activation act : {Activation{}, Activation{Activation::silu}, Activation{Activation::mish}}) {
        const Tensor y = shifted ? x + shift.unsqueeze(-1).unsqueeze(-1) : x;
        const Tensor right = act(at::group_norm(y, s.groups, weight, bias, 1e-5));
        const Tensor ours =
            ops::group_norm(last(x), s.groups, here(weight), here(bias), 1e-5, act, shifted ? here(shift) : Tensor());
        expect_near(ours, right);
        EXPECT_TRUE(ours.is_contiguous(at::MemoryFormat::ChannelsLast));
        expect_near(
            ops::group_norm(here(x), s.groups, here(weight), here(bias), 1e-5, act, shifted ? here(shift) : Tensor()),
            right);
      }
  }
}

// What varies is a ten-thousandth of what does not: sums of squares alone would lose it.
// The halves that a norm of a picture in pieces is made of.
TEST_P(Ops, ChannelMomentsAndScales) {
  const Tensor x = random({1, 40, 33, 70}) + 30 * random({1, 40, 1, 1}), scale = random({40}), offset = random({40});
  const auto exact = [](const Tensor& y) { return y.to(at::kCPU, at::kDouble); };
  for (const Tensor& whole : {here(x), last(x)}) {
    const Tensor piece = whole.narrow(2, 5, 21).narrow(3, 3, 60), moments = ops::channel_moments(piece);
    const Tensor mean = exact(piece).mean({0, 2, 3});
    EXPECT_LT((moments[0] - mean).abs().max().item<double>(), 1e-4);
    EXPECT_LT((moments[1] - exact(piece).var({0, 2, 3}, false)).abs().max().item<double>(), 1e-3);
    for (const Activation act : {Activation{}, Activation{Activation::silu}, Activation{Activation::mish}})
      expect_near(ops::scale_channels(whole, scale.to(at::kFloat), offset.to(at::kFloat), act),
                  act(exact(whole) * scale.view({-1, 1, 1}) + offset.view({-1, 1, 1})));
  }
}

TEST_P(Ops, GroupNormOfNumbersFarFromZero) {
  if (GetParam().dtype != at::kFloat) return;  // others have no such numbers
  const Tensor x = (1000 + 0.1 * random({1, 8, 20, 20})).to(at::kFloat).to(at::kDouble);
  const Tensor weight = random({8}), bias = random({8});
  expect_near(ops::group_norm(last(x), 2, here(weight), here(bias), 1e-5), at::group_norm(x, 2, weight, bias, 1e-5),
              2e-4);  // float32's own spacing there is 6e-4 of what varies
}

TEST_P(Ops, Geglu) {
  for (const auto& sizes : {std::vector<std::int64_t>{2, 33, 2 * 1280}, {1, 5, 2 * 7}, {4000, 2 * 16}}) {
    const Tensor x = 3 * random(sizes), exact = here(x).to(at::kCPU, at::kDouble);
    const auto halves = exact.chunk(2, -1);
    expect_near(ops::geglu(here(x)), halves[0] * at::gelu(halves[1]));
  }
}

TEST_P(Ops, GeluByTanh) {
  const Tensor x = 3 * random({3, 77, 40}), exact = here(x).to(at::kCPU, at::kDouble);
  expect_near(Activation{Activation::gelu_tanh}(here(x)), at::gelu(exact, "tanh"));
  const Tensor far = at::tensor({-1e30, -40.0, -9.0, 0.0, 9.0, 40.0, 1e30}, at::kDouble);
  const Tensor ours = Activation{Activation::gelu_tanh}(here(far)).to(at::kCPU, at::kDouble);
  EXPECT_TRUE(at::allclose(ours, at::gelu(here(far).to(at::kCPU, at::kDouble), "tanh"), 1e-2, 1e-5)) << ours;
}

TEST_P(Ops, NormsOfRows) {
  for (const std::int64_t width : {8, 36, 40, 3072}) {
    SCOPED_TRACE(width);
    const Tensor x = 5 + 2 * random({2, 33, width}), exact = here(x).to(at::kCPU, at::kDouble);
    const Tensor scale = random({2, width}), shift = random({2, width}), weight = random({width});
    const auto rounded = [this](const Tensor& y) { return here(y).to(at::kCPU, at::kDouble); };
    expect_near(
        ops::modulated_norm(here(x), here(scale), here(shift), 1e-3),
        at::layer_norm(exact, {width}, {}, {}, 1e-3) * (1 + rounded(scale).unsqueeze(1)) + rounded(shift).unsqueeze(1));
    expect_near(ops::rms_norm(here(x), here(weight), 1e-3),
                exact / (exact.square().mean(-1, true) + 1e-3).sqrt() * rounded(weight));
  }
}

// Two streams with norms of their own, or without, and rotations.
TEST_P(Ops, JoinedHeads) {
  constexpr std::int64_t heads = 3;
  for (const std::int64_t width : {4, 8, 20, 64}) {
    const Tensor a = random({2, 9, heads * width}), b = random({2, 5, heads * width}), norm_a = random({width}),
                 norm_b = random({width}), angles = 7 * random({14, width / 2});
    const Tensor turns = at::complex(at::cos(angles), at::sin(angles));
    const auto exact = [&](const Tensor& x, const Tensor& norm) {
      const Tensor y = here(x).to(at::kCPU, at::kDouble).unflatten(-1, {heads, width});
      return norm.defined() ? y / (y.square().mean(-1, true) + 1e-6).sqrt() * here(norm).to(at::kCPU, at::kDouble) : y;
    };
    for (const bool normed : {false, true})
      for (const bool turned : {false, true})
        for (const bool two : {false, true}) {
          SCOPED_TRACE(testing::Message() << width << ' ' << normed << turned << two);
          std::vector<ops::Heads> streams{{here(a), normed ? here(norm_a) : Tensor()}};
          if (two) streams.push_back({here(b), normed ? here(norm_b) : Tensor()});
          const Tensor own =
              turned ? turns.narrow(0, 0, two ? 14 : 9).to(at::kComplexFloat).to(here(a).device()) : Tensor();
          Tensor right = exact(a, streams[0].norm.defined() ? norm_a : Tensor());
          if (two) right = at::cat({right, exact(b, normed ? norm_b : Tensor())}, 1);
          if (turned) {
            const Tensor pairs = right.unflatten(-1, {-1, 2}), c = at::cos(angles).narrow(0, 0, right.size(1)),
                         s = at::sin(angles).narrow(0, 0, right.size(1));
            const Tensor x = pairs.select(-1, 0), y = pairs.select(-1, 1), cs = c.unsqueeze(1), sn = s.unsqueeze(1);
            right = at::stack({x * cs - y * sn, y * cs + x * sn}, -1).flatten(-2);
          }
          expect_near(ops::joined_heads(streams, heads, 1e-6, own), right.flatten(-2));
        }
  }
}

// What learns goes through operators that libtorch differentiates: no gradient is lost or made up on the way.
TEST_P(Ops, GradientsAreThoseOfTheExactOperators) {
  if (GetParam().dtype != at::kFloat) return;
  const c10::InferenceMode learns(false);
  const Tensor image = random({2, 8, 6, 5}), shift = random({2, 8}), scale = random({8}), offset = random({8}),
               rows = random({2, 9, 16}), more = random({2, 7, 16}), matrix = random({12, 16}),
               kernel = random({4, 8, 3, 3}), each = random({2, 16});
  const auto like = [](const Tensor& number, const Tensor& x) { return number.to(x.options()); };
  const auto norm = [&](const Tensor& x, const Tensor& by) {
    return ops::group_norm(x, 4, like(scale, x), like(offset, x), 1e-5, {Activation::silu}, by);
  };
  const std::vector<std::tuple<const char*, Tensor, std::function<Tensor(const Tensor&)>>> cases = {
      {"silu", rows, Activation{Activation::silu}},
      {"gelu", rows, Activation{Activation::gelu}},
      {"quick_gelu", rows, Activation{Activation::quick_gelu}},
      {"group_norm", image, [&](const Tensor& x) { return norm(x, like(shift, x)); }},
      {"its shift", shift, [&](const Tensor& x) { return norm(like(last(image), x), x); }},
      {"channel_moments", image.narrow(0, 0, 1), [&](const Tensor& x) { return ops::channel_moments(x); }},
      {"scale_channels", image,
       [&](const Tensor& x) { return ops::scale_channels(x, scale, offset, {Activation::silu}); }},
      {"geglu", rows, [&](const Tensor& x) { return ops::geglu(x); }},
      {"gelu_tanh", rows, Activation{Activation::gelu_tanh}},
      {"modulated_norm", rows,
       [&](const Tensor& x) { return ops::modulated_norm(x, like(each, x), like(each, x), 1e-5); }},
      {"its scale", each, [&](const Tensor& x) { return ops::modulated_norm(like(rows, x), x, like(each, x), 1e-5); }},
      {"rms_norm", rows, [&](const Tensor& x) { return ops::rms_norm(x, like(rows[0][0], x), 1e-5); }},
      {"joined_heads", rows,
       [&](const Tensor& x) {
         const ops::Heads streams[] = {{x, like(scale, x)}, {like(more, x), {}}};
         return ops::joined_heads(streams, 2, 1e-5);
       }},
      {"queries", rows, [&](const Tensor& x) { return ops::attention(x, like(more, x), like(more, x), 2); }},
      {"keys", more, [&](const Tensor& x) { return ops::attention(like(rows, x), x, like(more, x), 2); }},
      {"values", rows,
       [&](const Tensor& x) { return ops::attention(like(rows, x), like(rows, x), x, 4, /*causal=*/true); }},
      {"linear", rows, [&](const Tensor& x) { return ops::linear(x, like(matrix, x), {}); }},
      {"what is added", random({2, 9, 12}),
       [&](const Tensor& x) { return ops::linear(like(rows, x), like(matrix, x), {}, x); }},
      {"conv2d", image, [&](const Tensor& x) { return ops::conv2d(x, like(kernel, x), {}, 2, 1); }},
      {"doubling_conv2d", image, [&](const Tensor& x) { return ops::doubling_conv2d(x, like(kernel, x), {}); }},
  };
  for (const auto& [name, numbers, work] : cases) {
    SCOPED_TRACE(name);
    const Tensor x = (numbers.dim() == 4 ? last(numbers) : here(numbers)).requires_grad_(),
                 exact = numbers.clone().requires_grad_();
    const Tensor y = work(x), right = work(exact), direction = random(right.sizes());
    ASSERT_TRUE(y.requires_grad());
    (y.to(at::kCPU, at::kDouble) * direction).sum().backward();
    (right * direction).sum().backward();
    expect_near(x.grad(), exact.grad(), 1e-5);
  }
}

TEST_P(Ops, APackedWeightSaysThatGradientsWouldBeLost) {
  const c10::InferenceMode learns(false);
  const Tensor weight = here(random({32, 16})), packed = ops::packed_linear(weight);
  EXPECT_TRUE(ops::unpacked_linear(packed).equal(weight));
  if (packed.is_same(weight)) return;  // it is plain, and differentiable
  const Tensor x = here(random({3, 16})), y = here(random({3, 32})), image = last(random({1, 16, 4, 4})),
               kernel = here(random({32, 16, 3, 3}));
  const auto learner = [](const Tensor& of) { return of.detach().clone().requires_grad_(); };
  EXPECT_THROW(ops::linear(learner(x), packed, {}), c10::Error);
  EXPECT_THROW(ops::linear(x, packed, {}, learner(y)), c10::Error);
  EXPECT_THROW(ops::linear(x, packed, learner(y[0])), c10::Error);
  EXPECT_THROW(ops::conv2d(learner(image), ops::packed_conv2d(kernel, 1, 1), {}, 1, 1), c10::Error);
  EXPECT_THROW(ops::doubling_conv2d(learner(image), ops::packed_doubling_conv2d(kernel), {}), c10::Error);
  const at::NoGradGuard none;
  EXPECT_FALSE(ops::linear(learner(x), packed, {}).requires_grad());
}

TEST_P(Ops, Linear) {
  for (const auto& [rows, in, out] : {std::array<std::int64_t, 3>{77, 768, 320}, {2, 320, 1280}, {1000, 16, 7}}) {
    const Tensor x = random({2, rows, in}), weight = random({out, in}), bias = random({out}),
                 plus = random({2, rows, out});
    const Tensor packed = ops::packed_linear(here(weight));
    EXPECT_EQ(packed.sizes(), weight.sizes());
    expect_near(ops::linear(here(x), packed, here(bias)), at::linear(x, weight, bias));
    expect_near(ops::linear(here(x), packed, {}), at::linear(x, weight));
    expect_near(ops::linear(here(x), packed, here(bias), here(plus)), at::linear(x, weight, bias) + plus);
    expect_near(ops::linear(here(x), here(weight), here(bias), here(plus)), at::linear(x, weight, bias) + plus);
    const Tensor other = random({rows, 2, out}).transpose(0, 1);
    expect_near(ops::linear(here(x), packed, {}, here(other)), at::linear(x, weight) + other);
  }
}

TEST_P(Ops, Conv2d) {
  struct {
    std::int64_t in, out, kernel, stride, padding, height, width;
  } const shapes[] = {{4, 320, 3, 1, 1, 16, 16}, {320, 4, 3, 1, 1, 9, 7},   {32, 32, 3, 2, 1, 15, 16},
                      {32, 32, 3, 2, 0, 17, 17}, {64, 48, 1, 1, 0, 8, 8},   {64, 64, 3, 1, 1, 1, 1},
                      {33, 35, 3, 1, 1, 7, 10},  {96, 200, 3, 1, 1, 6, 13}, {320, 320, 3, 1, 1, 32, 32}};
  for (const auto& s : shapes) {
    SCOPED_TRACE(testing::Message() << s.in << " to " << s.out << ", kernel " << s.kernel << ", stride " << s.stride);
    const Tensor x = random({2, s.in, s.height, s.width}), weight = random({s.out, s.in, s.kernel, s.kernel}),
                 bias = random({s.out});
    const auto right = [&](const Tensor& b) {
      return at::conv2d(x, weight, b, {s.stride, s.stride}, {s.padding, s.padding});
    };
    const Tensor plus = random(right(bias).sizes()), packed = ops::packed_conv2d(here(weight), s.stride, s.padding);
    for (const bool channels_last : {true, false}) {
      const auto image = [&](const Tensor& t) { return channels_last ? last(t) : here(t); };
      const auto conv = [&](const Tensor& b, const Tensor& p) {
        return ops::conv2d(image(x), packed, b, s.stride, s.padding, p);
      };
      expect_near(conv(here(bias), {}), right(bias));
      expect_near(conv({}, {}), right({}));
      expect_near(conv(here(bias), image(plus)), right(bias) + plus);
    }
  }
}

// A weight with many channels is laid out otherwise where pictures are large, which takes more memory, and is said.
TEST_P(Ops, ConvolutionsOfLargePictures) {
  const std::int64_t channels = 1152;
  const Tensor x = random({1, channels, 6, 5}), weight = random({channels, channels, 3, 3});
  const auto conv = [&](bool large) {
    return ops::conv2d(last(x), ops::packed_conv2d(here(weight), 1, 1, large), {}, 1, 1);
  };
  expect_near(conv(false), at::conv2d(x, weight, {}, 1, 1), 1e-5);  // a sum of 10,368 products
  expect_near(conv(true), at::conv2d(x, weight, {}, 1, 1), 1e-5);
  const auto kept = [&](bool large) {
    return ops::panels::numbers_kept(weight.sizes(), GetParam().device, GetParam().dtype, large);
  };
  const bool grows = GetParam().device.is_cpu() && GetParam().dtype == at::kFloat;
  EXPECT_EQ(kept(false), std::uint64_t(weight.numel()));
  EXPECT_EQ(kept(true), std::uint64_t(weight.numel()) / 9 * (grows ? 16 : 9));
  EXPECT_EQ(at::equal(conv(true), conv(false)), !grows);
}

// One picture is what it is in a batch, whatever the number of threads.
TEST_P(Ops, AConvolutionIsTheSameInABatch) {
  const Tensor x = last(random({5, 64, 22, 19})), packed = ops::packed_conv2d(here(random({80, 64, 3, 3})), 1, 1);
  const Tensor all = ops::conv2d(x, packed, {}, 1, 1);
  const int threads = at::get_num_threads();
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    for (const std::int64_t i : {0, 3})
      EXPECT_TRUE(at::equal(ops::conv2d(x.narrow(0, i, 1), packed, {}, 1, 1), all.narrow(0, i, 1))) << n << " threads";
  }
  at::set_num_threads(threads);
}

TEST_P(Ops, DoublingConv2d) {
  for (const auto& [in, out, height, width] :
       {std::array<std::int64_t, 4>{32, 48, 7, 9}, {64, 16, 1, 1}, {8, 8, 16, 4}, {16, 64, 500, 40}}) {
    const Tensor x = random({2, in, height, width}), weight = random({out, in, 3, 3}), bias = random({out});
    const Tensor right = at::conv2d(at::upsample_nearest2d(x, {2 * height, 2 * width}), weight, bias, 1, 1);
    const Tensor ours = ops::doubling_conv2d(last(x), ops::packed_doubling_conv2d(here(weight)), here(bias));
    expect_near(ours, right);
    EXPECT_TRUE(ours.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Ops,
                         testing::Values(Place{at::kCPU, at::kFloat}, Place{at::kCPU, at::kBFloat16},
                                         Place{at::kCUDA, at::kFloat}, Place{at::kCUDA, at::kBFloat16},
                                         Place{at::kCUDA, at::kHalf}),
                         [](const auto& info) {
                           return std::string(info.param.device.is_cuda() ? "Cuda" : "Cpu") +
                                  (info.param.dtype == at::kFloat      ? "Float32"
                                   : info.param.dtype == at::kBFloat16 ? "Bfloat16"
                                                                       : "Float16");
                         });

}  // namespace
}  // namespace sdgen
