// Skip-layer guidance, with stand-ins for the networks.
#include "stages/guidance.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "base/scratch.h"
#include "core/plans.h"

namespace sdgen {
namespace {

using at::Tensor;
using Layers = std::vector<int>;

// Says `factor` times what it is told of each row, and writes down how many rows it saw.
struct Told final : Backbone {
  Told(double factor, std::vector<std::int64_t>& rows) : factor(factor), rows(rows) {}
  Tensor predict(const Tensor& x, const Tensor&, const Conditioning& c) const override {
    rows.push_back(x.size(0));
    return factor * c.context.view({-1, 1, 1, 1}) + 0 * x;
  }
  double factor;
  std::vector<std::int64_t>& rows;
};

class SkipLayers : public testing::Test {
 protected:
  SkipLayers() {
    models_.base.skippable_layers = 3;
    request_.prompt = "a fox", request_.negative_prompt = "";
    request_.width = request_.height = 8;
    request_.steps = 20, request_.seed = 1, request_.guidance_scale = 4;
    request_.skip_layers = Layers{1, 2};
  }
  Request settled(Request r) const {
    std::vector<std::string> warnings;
    settle_guidance(models_, r, warnings);
    return r;
  }
  std::string message(const Request& r) const {
    return message_of(Fault::usage, [&] { settled(r); });
  }

  Models models_{.name = "tiny",
                 .base = {.family = "StableDiffusion3Pipeline",
                          .device = at::kCPU,
                          .dtype = at::kFloat,
                          .text = TextPart{},
                          .latents = {.factor = 8},
                          .scheduler = Config({{"_class_name", "FlowMatchEulerDiscreteScheduler"}}, "test"),
                          .rules = {PipelineQuirks::none, PipelineQuirks::none}}};
  Request request_;
};

TEST_F(SkipLayers, AddTheDifferenceThatTheyMakeToTheGuidedAnswer) {
  request_.skip_layer_scale = 2.5;
  const std::vector<Plan> plans(2, test::plan_as_it_is(models_.base, settled(request_)));
  const Batch batch{0, plans, 2};
  std::vector<std::int64_t> whole_rows, other_rows;
  Layers asked;
  StepPart step{std::make_shared<Told>(1, whole_rows)};
  step.without = [&](const Layers& layers) {
    asked = layers;
    return std::make_shared<Told>(0.5, other_rows);
  };
  const auto backbones = skip_layers({{step.backbone}, {0}}, step, batch.common().run(0), batch);
  EXPECT_EQ(asked, (Layers{1, 2}));
  // Two negative prompts' rows, then two prompts'.
  const Conditioning told{.context = at::arange(1, 5, at::kFloat).view({4, 1, 1})};
  const Tensor x = at::ones({4, 1, 2, 2}), t = at::full({4}, 500.0);
  for (int call = 0; call < 20; ++call) {
    const Tensor out = backbones.at(std::size_t(call))->predict(x, t, told);
    const Tensor u = out.narrow(0, 0, 2), c = out.narrow(0, 2, 2), plain = told.context.view({4, 1, 1, 1});
    const Tensor guided = u + 4 * (c - u), without = u + 4 * (plain.narrow(0, 2, 2) - u);
    const bool acts = call >= 1 && call <= 3;  // 0.01 * 20 < call < 0.2 * 20
    const Tensor expected = acts ? without + 2.5 * 0.5 * plain.narrow(0, 2, 2) : without;
    EXPECT_TRUE(guided.allclose(expected.expand_as(guided))) << call;
  }
  EXPECT_EQ(other_rows, (std::vector<std::int64_t>{2, 2, 2})) << "of the prompts alone, and where it acts";
}

TEST_F(SkipLayers, HaveDiffusersDefaults) {
  const Request r = settled(request_);
  EXPECT_EQ(r.skip_layer_scale, 2.8);
  EXPECT_EQ(r.skip_layer_start, 0.01);
  EXPECT_EQ(r.skip_layer_stop, 0.2);
  request_.skip_layers.reset();
  EXPECT_EQ(settled(request_).skip_layer_scale, std::nullopt);
}

TEST_F(SkipLayers, RefusesWhatWouldDoNothing) {
  const auto with = [this](const auto& change) {
    Request r = request_;
    change(r);
    return message(r);
  };
  EXPECT_CONTAINS(with([](Request& r) { r.skip_layers = Layers{3}; }), "has no layer 3; its layers are 0 to 2");
  EXPECT_CONTAINS(with([](Request& r) { r.skip_layers = Layers{}; }), "no layer is named");
  EXPECT_CONTAINS(with([](Request& r) { r.guidance_scale = 1; }), "adds to the guidance");
  EXPECT_CONTAINS(with([](Request& r) { r.skip_layer_start = 1.5; }), "start 1.5 is outside 0..1");
  EXPECT_CONTAINS(with([](Request& r) { r.skip_layer_stop = NAN; }), "is outside 0..1");
  EXPECT_CONTAINS(with([](Request& r) { r.skip_layer_scale = INFINITY; }), "not a finite number");
  EXPECT_CONTAINS(with([](Request& r) { r.skip_layers.reset(), r.skip_layer_stop = 0.5; }),
                  "skip_layer_stop needs skip_layers");
  Request few = settled(request_);
  few.steps = 4;
  EXPECT_CONTAINS(message_of(Fault::usage,
                             [&] { require_skipped_layers_act(few, ModelRun(models_.base, few, /*refining=*/false)); }),
                  "no step i of 4");
  models_.base.skippable_layers = 0;
  EXPECT_CONTAINS(message(request_), "is for Stable Diffusion 3 and 3.5; the model tiny is a StableDiffusion3Pipeline");
}

// Models that were distilled on guidance, as Flux.
class DistilledGuidance : public testing::Test {
 protected:
  DistilledGuidance() {
    models_.base.guidance_distilled = models_.base.true_guidance = true;
    models_.base.defaults = {.guidance_scale = 3.5};
    models_.base.of_picture = {.guidance_scale = 7};
    request_.prompt = "a fox";
  }
  Request settled() {
    Request r = request_;
    warnings_.clear();
    settle_guidance(models_, r, warnings_);
    return r;
  }
  std::string refusal() {
    return message_of(Fault::usage, [&] { settled(); });
  }
  std::string warning() const { return Error(Fault::usage, warnings_.at(0)).what(); }

  Models models_{.name = "tiny",
                 .base = {.family = "FluxPipeline",
                          .device = at::kCPU,
                          .dtype = at::kFloat,
                          .text = TextPart{},
                          .scheduler = Config(Json::object(), "test")}};
  Request request_;
  std::vector<std::string> warnings_;
};

TEST_F(DistilledGuidance, IsOnePassUnlessBothScaleAndNegativePromptAreThere) {
  EXPECT_EQ(settled().guidance_scale, 3.5);
  EXPECT_FALSE(guided(models_.base, settled()));
  EXPECT_TRUE(warnings_.empty());
  request_.init_image = std::make_shared<const Image>();
  EXPECT_EQ(settled().guidance_scale, 7);
  request_.true_cfg_scale = 4;
  request_.negative_prompt = "";
  EXPECT_TRUE(guided(models_.base, settled()));
  EXPECT_TRUE(warnings_.empty());
  EXPECT_EQ(guidance_of(models_.base, settled(), {})->scale, 4);
  request_.true_cfg_scale = 1;
  EXPECT_FALSE(guided(models_.base, settled()));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_EQ(warning().find("negative_prompt changes nothing"), 0u) << warning();
  EXPECT_NE(warning().find("true_cfg_scale is above 1"), std::string::npos) << warning();
  request_.negative_prompt.reset();
  request_.true_cfg_scale = 4;
  EXPECT_EQ(settled().true_cfg_scale, std::nullopt) << "rows of a batch differ in their prompts alone";
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_EQ(warning().find("true_cfg_scale changes nothing without negative_prompt"), 0u) << warning();
}

TEST_F(DistilledGuidance, MayKnowNoScale) {
  models_.base.takes_guidance_scale = false;
  EXPECT_EQ(settled().guidance_scale, std::nullopt);
  for (const double scale : {0.0, 1.0}) {
    request_.guidance_scale = scale;
    EXPECT_EQ(settled().guidance_scale, scale) << "what people say for none";
  }
  request_.guidance_scale = 3.5;
  EXPECT_NE(refusal().find("guidance_embeds is false"), std::string::npos) << refusal();
}

TEST_F(DistilledGuidance, OfTrueCfgOtherModelsHaveNone) {
  models_.base.true_guidance = false;
  request_.negative_prompt = "rain";
  settled();
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_EQ(warning().find("true_cfg_scale"), std::string::npos) << warning();
  request_.true_cfg_scale = 1;
  EXPECT_NE(refusal().find("true_cfg_scale is for models that were distilled on guidance"), std::string::npos);
}

// Z-Image's pipeline says what is added to the prompt's answer: 0 is nothing.
TEST(NeutralGuidance, CountsFromThePromptsAnswer) {
  Parts parts{.family = "ZImagePipeline",
              .device = at::kCPU,
              .dtype = at::kFloat,
              .neutral_guidance = 0,
              .scheduler = Config(Json::object(), "test")};
  Request r;
  for (const double scale : {0.0, -1.0}) {
    r.guidance_scale = scale;
    EXPECT_FALSE(guided(parts, r)) << scale;
    EXPECT_FALSE(guidance_of(parts, r, {})) << scale;
  }
  r.guidance_scale = 0.5;
  EXPECT_TRUE(guided(parts, r));
  EXPECT_EQ(guidance_of(parts, r, {})->scale, 1.5);
  const PromptSchedule shares{.weights = {0.5, 0.5}, .prompts = {}, .negative = {}};
  EXPECT_NO_THROW(require_shares(parts, r, shares));
  r.guidance_scale = 0;
  const std::string text = message_of(Fault::usage, [&] { require_shares(parts, r, shares); });
  EXPECT_NE(text.find("a guidance scale of 0 or less turns off"), std::string::npos) << text;
  parts.neutral_guidance = 1;
  r.guidance_scale = 1.5;
  EXPECT_EQ(guidance_of(parts, r, {})->scale, 1.5);
}

}  // namespace
}  // namespace sdgen
