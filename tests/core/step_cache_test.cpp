// Network calls that use again what earlier ones said, and guidance at a part of the steps. Whole pictures are compared
// with DeepCache's and diffusers' in tools/parity.py.
#include "stages/step_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "base/scratch.h"
#include "core/fixture.h"
#include "core/plans.h"
#include "nn/block_cache.h"
#include "nn/deep_cache.h"
#include "nn/row_by_row.h"
#include "stages/guidance.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::Fixture;

class DeepCache : public testing::Test {
 protected:
  DeepCache() : conditioning_{.context = fixture_.tensor("in.context")} {}
  Tensor ask(const Backbone& network, int call) const {
    return network.predict(x_ * (1 + 0.1 * call), test::times(x_, 900 - 100 * call), conditioning_);
  }

  const c10::InferenceMode inference_;
  const Fixture fixture_{"layers/unet-sd1"};
  const std::shared_ptr<const UNet> unet_ =
      std::make_shared<UNet>(fixture_.weights(), UNetConfig::from(fixture_.config()));
  const Tensor x_ = fixture_.tensor("in.sample");
  Conditioning conditioning_;
};

TEST_F(DeepCache, AsksForTheLastLayersAloneBetweenWholeCalls) {
  for (const int layers : {1, 2, 3}) {
    const DeepCached cached(unet_, 3, layers);
    Tensor deep;
    for (int call = 0; call < 7; ++call) {
      const bool whole = call % 3 == 0;
      const Tensor x = x_ * (1 + 0.1 * call), t = test::times(x_, 900 - 100 * call);
      const Tensor expected = whole ? unet_->predict_keeping(x, t, conditioning_, std::size_t(layers), deep)
                                    : unet_->predict_over(deep, x, t, conditioning_, std::size_t(layers));
      const Tensor said = ask(cached, call);
      EXPECT_TRUE(at::equal(said, expected)) << layers << " layers, call " << call;
      EXPECT_EQ(at::equal(said, ask(*unet_, call)), whole) << layers << " layers, call " << call;
    }
  }
}

TEST_F(DeepCache, SaysWhatTheWholeNetworkSaysAtEveryCallThatIsWhole) {
  const DeepCached always(unet_, 1, 1);
  for (int call = 0; call < 3; ++call) EXPECT_TRUE(at::equal(ask(always, call), ask(*unet_, call))) << call;
  // As many layers as the finest level has, where more are asked for.
  const DeepCached most(unet_, 2, 100), all(unet_, 2, int(unet_->finest_layers()));
  for (int call = 0; call < 2; ++call) EXPECT_TRUE(at::equal(ask(most, call), ask(all, call))) << call;
}

TEST_F(DeepCache, IsWholeWherePromptsOrRowsChange) {
  const DeepCached cached(unet_, 100, 1);
  const auto is_whole = [&](const Tensor& x, const Conditioning& told) {
    const Tensor t = test::times(x, 500);
    return at::equal(cached.predict(x, t, told), unet_->predict(x, t, told));
  };
  const Conditioning others{.context = conditioning_.context * 0.5};
  const Tensor moved = x_ * 1.5;
  EXPECT_TRUE(is_whole(x_, conditioning_));
  EXPECT_FALSE(is_whole(moved, conditioning_));
  EXPECT_TRUE(is_whole(moved, others));
  EXPECT_FALSE(is_whole(x_, others));
  EXPECT_TRUE(is_whole(x_.narrow(0, 1, 1), others.rows(1, 2)));
  EXPECT_FALSE(is_whole(moved.narrow(0, 1, 1), others.rows(1, 2))) << "the same rows again";
}

// Three layers of tokens [B, N, 1]: the first adds what a call says, each other one times 2. Counts the rows that the
// others see.
class BlockCaches : public testing::Test {
 protected:
  Tensor ask(BlockCache* cache, const Tensor& tokens, const Tensor& first) {
    const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
      EXPECT_TRUE(at::equal(rows.of(tokens + first), begin == 0 ? tokens + first : s[0]));
      if (begin > 0) seen_.push_back(s[0].size(0));
      for (std::size_t i = begin; i < end; ++i) s[0] = i == 0 ? s[0] + rows.of(first) : s[0] * 2;
      return s;
    };
    return BlockCache::through(cache, 3, layers, BlockCache::streams(tokens));
  }
  static Tensor of_rows(std::initializer_list<double> values) {
    Tensor all;
    std::vector<Tensor> rows;
    for (const double value : values) rows.push_back(at::full({1, 4, 1}, value, at::kFloat));
    return at::cat(rows);
  }
  std::vector<std::int64_t> seen_;
};

TEST_F(BlockCaches, AskAllLayersWhereTheFirstMovesByMoreThanTheThreshold) {
  BlockCache cache(0.1, 1);
  EXPECT_TRUE(at::equal(ask(&cache, of_rows({1, 1}), of_rows({1, 1})), of_rows({8, 8})));
  EXPECT_EQ(seen_.size(), 1U);
  // 0.1 more of 2 in all: what the others added, 6, is added again.
  EXPECT_TRUE(ask(&cache, of_rows({1, 1}), of_rows({1.05, 1.05})).allclose(of_rows({8.05, 8.05})));
  EXPECT_TRUE(ask(&cache, of_rows({3, 1}), of_rows({1, 1})).allclose(of_rows({10, 8})));
  EXPECT_EQ(seen_.size(), 1U);
  // Against the call that asked all, not the last one.
  EXPECT_TRUE(ask(&cache, of_rows({1, 1}), of_rows({1.2, 1.2})).allclose(of_rows({8.8, 8.8})));
  EXPECT_EQ(seen_, (std::vector<std::int64_t>{2, 2}));
}

TEST_F(BlockCaches, DecideForEachPictureByAllItsRows) {
  BlockCache cache(0.1, 2);  // rows: two negative prompts', then two prompts'
  ask(&cache, of_rows({1, 1, 1, 1}), of_rows({1, 1, 1, 1}));
  // The second picture's prompt moves; its negative prompt's row goes with it.
  const Tensor made = ask(&cache, of_rows({1, 1, 1, 1}), of_rows({1, 1.02, 1, 1.5}));
  EXPECT_TRUE(made.allclose(of_rows({8, 8.08, 8, 10})));
  EXPECT_EQ(seen_, (std::vector<std::int64_t>{4, 2}));
  // From now on it is compared with that call, the first with the one before.
  EXPECT_TRUE(ask(&cache, of_rows({1, 1, 1, 1}), of_rows({1.05, 1.02, 1.05, 1.55}))
                  .allclose(of_rows({8.05, 8.08, 8.05, 10.05})));
  EXPECT_EQ(seen_.size(), 2U);
}

TEST_F(BlockCaches, BeginAnewWithOtherPrompts) {
  BlockCache cache(1000, 1);
  const Tensor tokens = of_rows({1});
  const auto begin = [&](const Conditioning& told) {
    cache.begin(tokens, told);
    ask(&cache, tokens, tokens);
  };
  const Conditioning one{.context = at::ones({1, 2, 3})}, other{.context = at::zeros({1, 2, 3})};
  begin(one), begin(one), begin(other), begin(other);
  EXPECT_EQ(seen_.size(), 2U);
}

// Of prompts of any length each row has a memory of its own, where lengths are one as well as where they differ.
TEST(RowByRow, RemembersOfEachRowItsOwnCalls) {
  struct Counts final : Backbone {
    Tensor predict(const Tensor& x, const Tensor&, const Conditioning& told) const override {
      EXPECT_EQ(x.size(0), 1);
      EXPECT_FALSE(told.context_mask.defined());
      return x + double(100 * told.context.size(1) + ++calls);
    }
    mutable int calls = 0;
  };
  const RowByRow rows([] { return std::make_shared<Counts>(); });
  const Tensor x = at::tensor({1000.0, 2000.0}).view({2, 1, 1, 1}), t = at::zeros({2});
  Conditioning told{.context = at::ones({2, 3, 4})};
  const auto said = [&] { return rows.predict(x, t, told).flatten(); };
  EXPECT_TRUE(at::equal(said(), at::tensor({1301.0, 2301.0})));
  told.context_mask = at::ones({2, 3}, at::kBool);
  told.context_mask[0][2].fill_(false);
  EXPECT_TRUE(at::equal(said(), at::tensor({1202.0, 2302.0})));
}

class FewerCalls : public testing::Test {
 protected:
  FewerCalls() {
    request_.prompt = "a fox", request_.negative_prompt = "";
    request_.width = request_.height = 8;
    request_.steps = 10, request_.seed = 1, request_.guidance_scale = 4;
  }
  void settle(Request r) const {
    std::vector<std::string> warnings;
    settle_guidance(models_, r, warnings);
    settle_cache(models_, r);
  }
  std::string refusal(const Request& request) const {
    return message_of(Fault::usage, [&] { settle(request); });
  }
  Request with(const auto& change) const {
    Request r = request_;
    change(r);
    return r;
  }

  Models models_{.name = "tiny",
                 .base = {.family = "StableDiffusionPipeline",
                          .device = at::kCPU,
                          .dtype = at::kFloat,
                          .text = TextPart{},
                          .latents = {.factor = 8},
                          .scheduler = Config({{"_class_name", "DDIMScheduler"}}, "test")}};
  Request request_;
};

TEST_F(FewerCalls, GuideInTheIntervalOfTheWholeSchedule) {
  const auto calls = [&](const Request& r, std::size_t begin) {
    ModelRun run(models_.base, r, /*refining=*/false);
    run.begin = begin;
    std::string all;
    for (std::size_t call = 0; call < run.end - run.begin; ++call) all += guides(r, run, call) ? '1' : '0';
    return all;
  };
  EXPECT_EQ(calls(request_, 0), "1111111111");
  const Request r = with([](Request& r) { r.guidance_interval = Interval{0.2, 0.75}; });
  EXPECT_EQ(calls(r, 0), "0011111100");
  EXPECT_EQ(calls(r, 5), "11100") << "a part of the schedule is numbered as in the whole";
  EXPECT_EQ(calls(with([](Request& r) { r.guidance_interval = Interval{0, 1}; }), 0), "1111111111");
}

TEST_F(FewerCalls, RefuseWhatMakesNoSense) {
  const auto interval = [&](double begin, double end) {
    return refusal(with([&](Request& r) { r.guidance_interval = Interval{begin, end}; }));
  };
  for (const auto& [begin, end] : {std::pair{0.5, 0.5}, {0.6, 0.5}, {-0.1, 1.0}, {0.0, 1.1}, {0.0, double(NAN)}})
    EXPECT_CONTAINS(interval(begin, end), "expected two shares of the steps");
  EXPECT_NO_THROW(settle(with([](Request& r) { r.guidance_interval = Interval{0.1, 0.9}; })));
  EXPECT_CONTAINS(refusal(with([](Request& r) {
                    r.guidance_interval = Interval{0.1, 0.9}, r.guidance_scale = 1;
                  })),
                  "which there is none of");
  const Request narrow = with([](Request& r) { r.guidance_interval = Interval{0.91, 0.99}; });
  EXPECT_CONTAINS(
      message_of(Fault::usage, [&] { require_guidance_acts(narrow, {ModelRun(models_.base, narrow, false)}); }),
      "is in 9.1 <= i < 9.9");
  const auto cache = [&](StepCache cache) { return refusal(with([&](Request& r) { r.cache = cache; })); };
  EXPECT_NO_THROW(settle(with([](Request& r) { r.cache = StepCache{.every = 3}; })));
  EXPECT_CONTAINS(cache({.every = 0}), "expected 1 to 10000");
  EXPECT_CONTAINS(cache({.every = 3, .layers = 0}), "0 layers");
  EXPECT_CONTAINS(cache({.kind = StepCache::Kind::first_block, .threshold = 0.1}), "it takes deepcache:N");
  models_.base.cache = StepCache::Kind::first_block;
  EXPECT_CONTAINS(cache({.every = 3}), "it takes first-block:X");
  EXPECT_CONTAINS(cache({.kind = StepCache::Kind::first_block, .threshold = NAN}), "expected 0 or more");
  models_.base.steering.infos = {{ControlInfo::Kind::controlnet, "net", "net", ""}};
  EXPECT_CONTAINS(cache({.kind = StepCache::Kind::first_block, .threshold = 0.1}), "does not go with controlnets");
}

}  // namespace
}  // namespace sdgen
