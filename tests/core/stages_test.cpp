// The stages between a request and the networks, with stand-ins for these: what SDXL is told, which steps a model runs,
// what may share a batch, what a mask keeps.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/scratch.h"
#include "core/fixture.h"
#include "core/plans.h"
#include "families/drawn_sizes.h"
#include "families/sdxl.h"
#include "model/class_conditioner.h"
#include "nn/row_by_row.h"
#include "stages/batch.h"
#include "stages/drawn_size.h"
#include "stages/picture_request.h"
#include "stages/plan.h"
#include "stages/prompt_schedule.h"
#include "stages/start.h"
#include "stages/text.h"

namespace sdgen {
namespace {

using at::Tensor;

// What a prompt is encoded as: one number, that tells its length and how many layers were skipped.
double code(const std::string& prompt, int clip_skip = 0) { return double(prompt.size()) + 100.0 * clip_skip + 1; }

struct Words : TextConditioner {
  Conditioning encode(const Texts& texts, const TextSettings& settings,
                      const std::function<void(const std::string&)>&) override {
    double number = code(texts[0], settings.clip_skip) + 1000.0 * settings.max_sequence_length;
    for (std::size_t i = 1; i < texts.size(); ++i) number += 10'000.0 * double(i) * code(texts[i]);
    return {.context = at::full({1, 2, 3}, number, at::kFloat), .pooled = at::full({1, 4}, -number, at::kFloat)};
  }
  std::size_t chunks(const Texts&, int) override { return 1; }
};

Parts parts_of(const std::string& scheduler, SizeInputs sizes = {}) {
  return {
      .family = "StableDiffusionPipeline",
      .device = at::kCPU,
      .dtype = at::kFloat,
      .text = TextPart{[](std::span<const Lora>) { return std::make_unique<Words>(); }},
      .sizes = sizes,
      .latents = {.factor = 8},
      .scheduler = Config({{"_class_name", scheduler}, {"timestep_spacing", "leading"}, {"steps_offset", 0}}, "test"),
      .rules = {PipelineQuirks::none, PipelineQuirks::none}};
}

Request request_of(int steps) {
  Request r;
  r.prompt = "a fox";
  r.negative_prompt = "ugly";
  r.width = 64, r.height = 32;
  r.steps = steps;
  r.guidance_scale = 5;
  r.seed = 1;
  return r;
}

Request settle(const Models& models, Request r) {
  settle_text(models, r);
  return r;
}

Conditioning conditioned(const Parts& parts, const std::vector<Request>& requests, std::size_t rows) {
  std::vector<Plan> plans;
  for (const Request& request : requests) plans.push_back(test::plan_as_it_is(parts, request));
  TextStage stage(parts, 0, {});
  Observer nobody;
  return stage({0, plans, rows}, 0, nobody).at(0);
}

std::vector<double> firsts(const Tensor& x) {
  const Tensor column = x.flatten(1).select(1, 0).to(at::kDouble).contiguous();
  return {column.const_data_ptr<double>(), column.const_data_ptr<double>() + column.numel()};
}

// --- Text

TEST(TextStage, NegativeRowsComeFirstAndEachPictureHasItsOwn) {
  const Parts parts = parts_of("DDIMScheduler");
  Request other = request_of(4);
  other.prompt = "two red foxes", other.negative_prompt = "";
  const Conditioning c = conditioned(parts, {request_of(4), other}, 3);
  const std::vector<double> expected = {code("ugly"),         code(""), code(""), code("a fox"), code("two red foxes"),
                                        code("two red foxes")};
  EXPECT_EQ(firsts(c.context), expected);
}

TEST(TextStage, ClipSkipIsOfThePromptAlone) {
  Request r = request_of(4);
  r.clip_skip = 1;
  EXPECT_EQ(firsts(conditioned(parts_of("DDIMScheduler"), {r}, 1).context),
            (std::vector<double>{code("ugly"), code("a fox", 1)}));
}

TEST(TextStage, FurtherTextsAreForTheirEncoders) {
  const auto code_of = [](const std::string& first, const std::string& second, const std::string& third) {
    return code(first) + 10'000 * code(second) + 20'000 * code(third);
  };
  Parts parts = parts_of("DDIMScheduler");
  parts.text->encoders = 3;
  Request r = request_of(4);
  r.prompt_3 = "a moon", r.negative_prompt_2 = "blurred";
  EXPECT_EQ(firsts(conditioned(parts, {r}, 1).context),
            (std::vector<double>{code("ugly") + 10'000 * code("blurred"), code_of("a fox", "a fox", "a moon")}));
  // They change in the course of the picture, as the first one does, and go with each prompt that AND joins.
  r = request_of(4);
  r.prompt_syntax = PromptSyntax::weighted;
  r.prompt = "a fox AND two foxes", r.prompt_2 = "sun";
  EXPECT_EQ(firsts(conditioned(parts, {r}, 1).context),
            (std::vector<double>{code("ugly"), code("a fox") + 10'000 * code("sun"),
                                 code(" two foxes") + 10'000 * code("sun")}));
}

TEST(TextStage, FurtherTextsNeedAnEncoder) {
  const Models one{.name = "tiny", .base = parts_of("DDIMScheduler")};
  const auto message = [](const Models& models, const Request& r) {
    return message_of(Fault::usage, [&] { settle(models, r); });
  };
  Request r = request_of(4);
  r.prompt_2 = "";
  EXPECT_CONTAINS(message(one, r), "prompt_2: the model tiny has 1 text encoder, which reads prompt");
  r = request_of(4), r.negative_prompt_3 = "x";
  Models two = one;
  two.base.text->encoders = 2;
  EXPECT_CONTAINS(message(two, r),
                  "negative_prompt_3: the model tiny has 2 text encoders; they read negative_prompt and "
                  "negative_prompt_2");
  r = request_of(4), r.prompt_2 = "";
  EXPECT_EQ(settle(two, r).prompt_2, std::nullopt) << "nothing is what the first one is told";
  r.negative_prompt.reset(), r.negative_prompt_2 = "x", two.base.text->zero_empty_negative = true;
  EXPECT_CONTAINS(message(two, r), "negative_prompt_2 needs negative_prompt");
  r = request_of(4), r.prompt_syntax = PromptSyntax::weighted, r.prompt_2 = "a AND b";
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { prompt_schedule(r, 4); }), "prompt_2: AND joins prompts in prompt");
}

TEST(TextStage, TheSequenceLengthIsTheRequestsElseTheModels) {
  Models models{.name = "tiny", .base = parts_of("DDIMScheduler")};
  Request r = request_of(4);
  EXPECT_EQ(settle(models, r).max_sequence_length, std::nullopt);
  r.max_sequence_length = 77;
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { settle(models, r); }), "max_sequence_length: the model tiny has no");
  models.base.text->max_sequence_length = 256;
  EXPECT_EQ(firsts(conditioned(models.base, {r}, 1).context)[1], code("a fox") + 77'000);
  for (const int wrong : {0, 513}) {
    r.max_sequence_length = wrong;
    EXPECT_CONTAINS(message_of(Fault::usage, [&] { settle(models, r); }), "is outside 1..512");
  }
  r.max_sequence_length.reset();
  EXPECT_EQ(settle(models, r).max_sequence_length, 256);
}

TEST(TextStage, ContextsOfAnyLengthAreFilledUpAndMasked) {
  Parts parts = parts_of("DDIMScheduler");
  parts.text->any_length = true;
  Request other = request_of(4);
  other.prompt = "two red foxes";
  const Conditioning alone = conditioned(parts, {request_of(4)}, 1),
                     both = conditioned(parts, {request_of(4), other}, 2);
  ASSERT_TRUE(both.context_mask.defined());
  EXPECT_EQ(both.context_mask.sizes(), both.context.sizes().slice(0, 2));
  EXPECT_TRUE(both.context_mask.device().is_cpu());
  const Tensor counted = both.context_mask.sum(1);
  for (std::int64_t row = 0; row < counted.size(0); ++row)
    EXPECT_EQ(both.context[row].slice(0, counted[row].item<std::int64_t>()).abs().sum().item<double>(), 0);
  EXPECT_EQ(firsts(both.context)[2], firsts(alone.context)[1]);
}

// Each row is asked with the tokens that count, and nothing else.
TEST(RowByRow, CutsContextsToWhatCounts) {
  struct Seen final : Backbone {
    Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& c) const override {
      EXPECT_FALSE(c.context_mask.defined());
      return x + t.view({-1, 1, 1, 1}) + c.context.sum() + 100 * c.context.size(1);
    }
  };
  const RowByRow rows(std::make_shared<Seen>());
  Conditioning c{.context = at::ones({2, 3, 2}),
                 .context_mask = at::tensor({1, 1, 1, 1, 0, 0}).view({2, 3}).to(at::kBool)};
  const Tensor x = at::zeros({2, 1, 1, 1}), t = at::tensor({0.25, 0.5});
  EXPECT_EQ(firsts(rows.predict(x, t, c)), (std::vector<double>{306.25, 102.5}));
  c.context_mask = Tensor();
  EXPECT_EQ(firsts(rows.predict(x, t, c)), (std::vector<double>{312.25, 312.5}));
}

TEST(TextStage, ALanguageModelWeighsNoWords) {
  Models models{.name = "tiny", .base = parts_of("DDIMScheduler")};
  models.base.text->weights = false;
  Request r = request_of(4);
  r.prompt_syntax = PromptSyntax::weighted;
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { settle(models, r); }),
                  "prompt_syntax: the model tiny reads prompts as");
  r.prompt_syntax = PromptSyntax::plain;
  EXPECT_EQ(settle(models, r).prompt_syntax, PromptSyntax::plain);
}

TEST(TextStage, NoNegativePromptIsZerosWhereTheModelSaysSo) {
  Parts parts = parts_of("DDIMScheduler");
  parts.text->zero_empty_negative = true;
  Request r = request_of(4);
  r.negative_prompt.reset();
  const Conditioning zeros = conditioned(parts, {r}, 1);
  EXPECT_EQ(firsts(zeros.context), (std::vector<double>{0, code("a fox")}));
  EXPECT_EQ(firsts(zeros.pooled), (std::vector<double>{0, -code("a fox")}));
  r.negative_prompt = "";  // said, and empty
  EXPECT_EQ(firsts(conditioned(parts, {r}, 1).context), (std::vector<double>{code(""), code("a fox")}));
  parts.text->zero_empty_negative = false;
  r.negative_prompt.reset();
  EXPECT_EQ(firsts(conditioned(parts, {r}, 1).context), (std::vector<double>{code(""), code("a fox")}));
}

TEST(TextStage, SdxlIsToldHeightsBeforeWidths) {
  const Parts parts = parts_of("DDIMScheduler", kSdxlSizes);
  Request r = request_of(4);
  const auto rows = [](std::vector<float> row) { return at::tensor(row).expand({2, -1}); };
  EXPECT_TRUE(conditioned(parts, {r}, 1).size_ids.equal(rows({32, 64, 0, 0, 32, 64}))) << "the picture's own size";
  r.sizes.original_size = Size{1, 2}, r.sizes.crop = Point{3, 4}, r.sizes.target_size = Size{5, 6};
  EXPECT_TRUE(conditioned(parts, {r}, 1).size_ids.equal(rows({2, 1, 4, 3, 6, 5})));
}

TEST(TextStage, ARefinerIsToldAScore) {
  Request r = request_of(4);
  r.sizes.original_size = Size{1, 2}, r.sizes.crop = Point{3, 4};
  const Parts parts = parts_of("DDIMScheduler", kRefinerSizes);
  EXPECT_TRUE(conditioned(parts, {r}, 1)
                  .size_ids.equal(at::tensor(std::vector<float>{2, 1, 0, 0, 2.5, 2, 1, 4, 3, 6}).view({2, 5})))
      << "negative prompts' pictures are uncropped and ugly";
}

// Guidance is away from the class of none.
TEST(TextStage, ClassesAreNumbers) {
  Parts parts = parts_of("DDIMScheduler");
  const auto names =
      std::make_shared<const ClassNames>(Config({{"id2label", {{"3", "tench, Tinca tinca"}}}}, "model_index.json"), 9);
  parts.text->classes = names;
  parts.text->make = [names](std::span<const Lora>) { return std::make_unique<ClassConditioner>(names, 9, at::kCPU); };
  const Models models{"toy", parts, {}};
  Request r = request_of(4);
  const auto refusal = [&] { return message_of(Fault::usage, [&] { make_plan(models, r, nullptr); }); };
  EXPECT_NE(refusal().find("negative_prompt"), std::string::npos);
  r.negative_prompt.reset();
  EXPECT_NE(refusal().find("none is called 'a fox'"), std::string::npos) << refusal();
  r.prompt = "Tench";
  EXPECT_FALSE(make_plan(models, r, nullptr).request().negative_prompt.has_value());
  const Conditioning c = conditioned(parts, {r, r}, 2);
  EXPECT_TRUE(c.classes.equal(at::tensor({9, 9, 3, 3}, at::kLong)));
  EXPECT_FALSE(c.context.defined());
  r.clip_skip = 0;
  EXPECT_NE(refusal().find("clip_skip"), std::string::npos);
  r.clip_skip.reset();
  r.prompt_syntax = PromptSyntax::weighted;
  EXPECT_NE(refusal().find("prompt_syntax"), std::string::npos);
}

TEST(TextStage, ADistilledScaleIsForTheNetwork) {
  Parts parts = parts_of("DDIMScheduler");
  parts.guidance_distilled = true;
  Request r = request_of(4);
  r.guidance_scale = 1.7;
  const Conditioning c = conditioned(parts, {r}, 1);
  EXPECT_EQ(firsts(c.context), std::vector<double>{code("a fox")}) << "there is no second pass";
  EXPECT_TRUE(c.guidance.equal(at::tensor(std::vector<double>{1.7})));
}

// --- Runs of a model

TEST(ModelRun, StrengthLeavesOutTheFirstSteps) {
  const Parts parts = parts_of("DDIMScheduler"), pairs = parts_of("HeunDiscreteScheduler");
  Request r = request_of(10);
  r.init_image = std::make_shared<const Image>();
  for (const auto& [strength, steps] : {std::pair{1.0, 10}, {0.99, 9}, {0.35, 3}, {0.1, 1}}) {
    r.strength = strength;
    const ModelRun run(parts, r, /*refining=*/false);
    EXPECT_EQ(run.begin, std::size_t(10 - steps)) << strength;
    EXPECT_EQ(run.end, 10u);
    EXPECT_EQ(ModelRun(pairs, r, /*refining=*/false).begin, std::size_t(2 * (10 - steps))) << strength;
  }
  r.strength = 0.05;
  try {
    const ModelRun run(parts, r, /*refining=*/false);
    FAIL() << "no step is left";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
    EXPECT_NE(std::string(error.what()).find("leaves none of 10 steps"), std::string::npos) << error.what();
  }
}

TEST(ModelRun, FlowsShiftWithThePicturesSize) {
  Parts parts = parts_of("FlowMatchEulerDiscreteScheduler");
  parts.scheduler =
      Config({{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"use_dynamic_shifting", true}}, "test");
  Request r = request_of(4);
  const auto second = [&] { return ModelRun(parts, r, /*refining=*/false).grid.steps[1].from.sigma; };
  const Scheduler scheduler = Scheduler::choose(parts.scheduler, {});
  EXPECT_EQ(second(), scheduler.grid({4, 8 * 4}).steps[1].from.sigma);
  r.width = 512, r.height = 1024;
  EXPECT_EQ(second(), scheduler.grid({4, 64 * 128}).steps[1].from.sigma);
}

TEST(ModelRun, TheRefinerTakesOverWhereTheFirstModelEnds) {
  const Parts parts = parts_of("DDIMScheduler");  // four steps: 750, 500, 250, 0
  Request r = request_of(4);
  for (const auto& [start, first] : {std::pair{0.2, 0}, {0.25, 1}, {0.3, 1}, {0.5, 2}, {0.76, 3}, {0.999, 3}}) {
    r.refiner_start = start;
    const ModelRun base(parts, r, /*refining=*/false), refiner(parts, r, /*refining=*/true);
    EXPECT_EQ(base.begin, 0u);
    EXPECT_EQ(base.end, std::size_t(first)) << start;
    EXPECT_EQ(refiner.begin, std::size_t(first)) << start;
    EXPECT_EQ(refiner.end, 4u);
  }
}

TEST(ModelRun, SecondOrderStepsAreTwoOfAPromptsSchedule) {
  const Request r = request_of(10);
  EXPECT_EQ(scheduled_steps(ModelRun(parts_of("DDIMScheduler"), r, /*refining=*/false).scheduler, r), 10);
  EXPECT_EQ(scheduled_steps(ModelRun(parts_of("HeunDiscreteScheduler"), r, /*refining=*/false).scheduler, r), 20);
}

// The pipeline that repaints leaves out PNDM's Runge-Kutta steps, which the others of this model do not.
TEST(ModelRun, ThePipelineThatRepaintsSetsItsSchedulerOtherwise) {
  Parts parts = parts_of("PNDMScheduler");
  parts.rules.repaint_quirks = PipelineQuirks::inpainting;
  Request r = request_of(10);
  const std::size_t whole = ModelRun(parts, r, /*refining=*/false).grid.steps.size();
  r.mask = std::make_shared<const Image>();
  EXPECT_EQ(ModelRun(parts, r, /*refining=*/false).grid.steps.size(), 11u);
  EXPECT_GT(whole, 11u);
}

// --- Sizes

TEST(Sizes, AreMultiplesOfTheModelsFactor) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.multiple = 8;
  EXPECT_EQ(make_plan(models, request_of(4), nullptr).request().width, 64);
  for (const int side : {60, 62, 63, 65}) {
    for (const bool wide : {true, false}) {
      Request r = request_of(4);
      (wide ? r.width : r.height) = side;
      const std::string message = message_of(Fault::usage, [&] { make_plan(models, r, nullptr); });
      const int below = side / 8 * 8;
      EXPECT_NE(message.find(concat(wide ? "width " : "height ", side, " is not a multiple of 8")), std::string::npos)
          << message;
      EXPECT_NE(message.find(concat("the nearest are ", below, " and ", below + 8)), std::string::npos) << message;
    }
  }
}

TEST(Sizes, OthersAreCutFromThoseThatAreDrawn) {
  const auto nearest = [](std::int64_t sample_size, Size asked) {
    const Size size = nearest_in_shape(drawn_sizes(sample_size), asked);
    return std::pair(size.width, size.height);
  };
  EXPECT_EQ(nearest(128, {1024, 1024}), std::pair(1024, 1024));
  EXPECT_EQ(nearest(128, {1920, 1080}), std::pair(1344, 768));
  EXPECT_EQ(nearest(64, {1080, 1920}), std::pair(384, 672));
  EXPECT_EQ(nearest(32, {10000, 10}), std::pair(512, 128));
  EXPECT_EQ(nearest(256, {800, 200}), std::pair(4096, 1024));
  EXPECT_EQ(nearest(256, {100, 300}), std::pair(1152, 3456));
  EXPECT_EQ(nearest(256, {100, 290}), std::pair(1152, 3328)) << "2.89 alone has this shape";
  EXPECT_EQ(nearest(64, {100, 290}), std::pair(288, 864));
  // Half way between two keys, as they are in float64, the first one stands.
  EXPECT_EQ(nearest(64, {200, 194}), std::pair(512, 480));
  EXPECT_TRUE(drawn_sizes(16).empty());

  const Tensor picture = at::arange(48, at::kFloat).view({1, 1, 6, 8});
  EXPECT_TRUE(cut_to(picture, {8, 6}).equal(picture));
  const Tensor half = cut_to(picture, {3, 3});  // 4x3, and a column too many
  EXPECT_EQ(half.sizes(), (std::vector<std::int64_t>{1, 1, 3, 3}));
  EXPECT_TRUE(half.equal(at::upsample_bilinear2d(picture, {3, 4}, /*align_corners=*/false).narrow(3, 0, 3)));
  // 304 times 300/304 is less than 300.
  EXPECT_EQ(cut_to(at::zeros({1, 1, 208, 304}), {300, 200}).sizes(), (std::vector<std::int64_t>{1, 1, 200, 300}));
  for (int side = 1; side < 400; ++side)
    EXPECT_EQ(cut_to(at::zeros({1, 1, 5, 49}), {side, 1}).size(3), side) << "whatever rounding makes of it";
}

TEST(Sizes, PicturesAreDrawnOnInThoseThatAreDrawn) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.drawn = {{64, 32}, {32, 32}};
  models.base.defaults.strength = models.base.of_picture.strength = 0.8;
  EXPECT_EQ(make_plan(models, request_of(4), nullptr).request().width, 64);
  Request r = request_of(4);
  r.width = 61;
  EXPECT_EQ(make_plan(models, r, nullptr).request().width, 61) << "any size is cut from one";
  r.init_image = std::make_shared<const Image>(Image{5, 6, std::vector<std::uint8_t>(90)});
  EXPECT_NE(message_of(Fault::usage, [&] { make_plan(models, r, nullptr); }).find("not at 61x32; the nearest is 64x32"),
            std::string::npos);
  r.width.reset(), r.height.reset();
  EXPECT_EQ(make_plan(models, r, nullptr).request().width, 32);
}

TEST(Sizes, MayBeOne) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.multiple = models.base.latents.most = 32;
  Request r = request_of(4);
  EXPECT_NE(message_of(Fault::usage, [&] { make_plan(models, r, nullptr); })
                .find("width 64: this model draws pictures of 32x32 alone"),
            std::string::npos);
  r.width = 32;
  EXPECT_EQ(make_plan(models, r, nullptr).request().width, 32);
}

TEST(Sizes, MarginsGrowByWhatIsMissing) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.multiple = 8;
  models.base.defaults.strength = 0.8;
  const auto rounded = [&](const Margins& margins) {
    Request r = request_of(4);
    r.init_image = std::make_shared<const Image>(Image{20, 24, {}});
    r.extend = margins;
    r.width.reset(), r.height.reset();
    settle_pictures(models, r);
    return *r.extend;
  };
  EXPECT_EQ(rounded({4, 8, 0, 0}), (Margins{4, 8, 0, 0})) << "nothing is missing";
  EXPECT_EQ(rounded({1, 1, 0, 0}), (Margins{4, 8, 0, 0})) << "the side that grows alone";
  EXPECT_EQ(rounded({1, 1, 1, 1}), (Margins{1, 1, 3, 7})) << "of two the one at the end";
  EXPECT_EQ(rounded({0, 0, 0, 9}), (Margins{0, 0, 4, 16}));
}

// --- Batches

using Alike = std::function<bool(const Plan::Impl&, const Plan::Impl&)>;
using Sizes = std::vector<std::pair<std::size_t, std::size_t>>;  // first, and how many

Sizes batched(const std::vector<Request>& requests, std::size_t rows, const Alike& alike) {
  const Parts parts = parts_of("DDIMScheduler");
  std::vector<Plan> plans;
  for (const Request& request : requests) plans.push_back(test::plan_as_it_is(parts, request));
  Sizes found;
  for (const Batch& batch : batches(plans, rows, alike)) found.emplace_back(batch.first, batch.plans.size());
  return found;
}

TEST(Batches, WordsAndSeedsMayDiffer) {  // and nothing else: see neighbours_test.cpp
  const auto always = [](auto&, auto&) { return true; };
  // Each row is told these for itself.
  Request same = request_of(4);
  same.prompt = "x", same.negative_prompt.reset(), same.seed = 9, same.clip_skip = 1;
  same.sizes.original_size = Size{1, 2}, same.sizes.target_size = Size{3, 4}, same.sizes.crop = Point{5, 6};
  EXPECT_EQ(batched({request_of(4), same}, 4, always).size(), 1u);
  EXPECT_EQ(batched({request_of(4), request_of(5)}, 4, always).size(), 2u);
}

TEST(Batches, KeepTheOrderAndTheSize) {
  const std::vector<Request> requests(5, request_of(4));
  EXPECT_EQ(batched(requests, 2, [](auto&, auto&) { return true; }), (Sizes{{0, 2}, {2, 2}, {4, 1}}));
  EXPECT_EQ(batched(requests, 2, [](auto&, auto&) { return false; }), (Sizes{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}}));
}

// What is the same is not understood twice.
TEST(Plans, TakeOverWhatIsTheSame) {
  const Models models{"toy", parts_of("DDIMScheduler"), {}};
  Request other = request_of(4);
  other.prompt = "a bird", other.seed = 8;
  const Plan first = make_plan(models, request_of(4), nullptr), second = make_plan(models, other, &first);
  EXPECT_EQ(first.impl().runs, second.impl().runs);
  EXPECT_EQ(second.request().prompt, "a bird");
  EXPECT_NE(make_plan(models, request_of(5), &first).impl().runs, first.impl().runs);
}

// --- Masks

std::shared_ptr<const Image> grey_image(int width, int height, const std::function<int(int x, int y)>& grey) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) image.rgb.insert(image.rgb.end(), 3, static_cast<std::uint8_t>(grey(x, y)));
  return std::make_shared<const Image>(std::move(image));
}

Request masked_request(const std::function<int(int x, int y)>& mask) {
  Request r = request_of(4);
  r.strength = 0.5;
  r.init_image = grey_image(64, 32, [](int x, int) { return 4 * x; });
  r.mask = grey_image(64, 32, mask);
  return r;
}

TEST(Masks, AreRepaintedFromTheMiddleGreyOn) {
  const Parts parts = parts_of("DDIMScheduler");
  const Request r = masked_request([](int x, int) { return x < 32 ? 127 : 128; });
  const InputPictures source(parts, r);
  EXPECT_EQ(source.mask.sizes(), (std::vector<std::int64_t>{1, 1, 32, 64}));
  EXPECT_EQ(source.mask.slice(3, 0, 32).sum().item<float>(), 0) << "127 is kept";
  EXPECT_EQ(source.mask.slice(3, 32).sum().item<float>(), 32 * 32) << "128 is repainted";
  EXPECT_TRUE(source.latent_mask.flatten().equal(at::tensor(std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1}).repeat({4})));
}

TEST(Masks, ABlurReachesBeyondTheEdge) {
  const Parts parts = parts_of("DDIMScheduler");
  Request r = masked_request([](int x, int) { return x < 32 ? 0 : 255; });
  const auto white = [&] {
    const Image& mask = InputPictures(parts, r).overlay->mask;
    return std::pair{int(mask.rgb[3 * 30]), int(mask.rgb[3 * 33])};
  };
  EXPECT_EQ(white(), (std::pair{0, 255}));
  r.mask_blur = 4;
  EXPECT_GT(white().first, 50);
  EXPECT_LT(white().second, 205);
}

TEST(Masks, WhatIsKeptIsAsNoisyAsTheNextStepBegins) {
  const Parts parts = parts_of("DDIMScheduler");
  const Request r = masked_request([](int x, int) { return x < 32 ? 0 : 255; });
  const InputPictures source(parts, r);
  const ModelRun run(parts, r, /*refining=*/false);
  ASSERT_EQ(run.begin, 2u);
  const std::vector<std::uint64_t> seeds = {1};
  SeededNoise noise(seeds, {4, 4, 8}, at::kCPU), same(seeds, {4, 4, 8}, at::kCPU);
  const Tensor x0 = at::full({1, 4, 4, 8}, 3.0);
  const Start start = first_start(run, r, source, noise, {[&](const Tensor&, const Noise&) { return x0; }, false});
  const Tensor drawn = same();
  const auto noisy = [&](std::size_t i) {
    return run.grid.steps[i].from.alpha * x0 + run.grid.steps[i].from.sigma * drawn;
  };
  EXPECT_TRUE(start.x.equal(noisy(2)));
  const Tensor made = at::full({1, 4, 4, 8}, 7.0);
  for (const std::size_t i : {3, 4}) {
    const Tensor between = start.between(made, i);
    test::expect_close(between.slice(3, 0, 4), (i == 4 ? x0 : noisy(i)).slice(3, 0, 4), 1e-6, "what is kept");
    EXPECT_TRUE(between.slice(3, 4).equal(made.slice(3, 4))) << "what is made";
  }
}

TEST(Masks, WhatIsKeptIsPutBack) {
  const Parts parts = parts_of("DDIMScheduler");
  const Request r = masked_request([](int x, int) { return x < 32 ? 0 : 255; });
  const Image result = InputPictures(parts, r).finished(*grey_image(64, 32, [](int, int) { return 9; }));
  EXPECT_EQ(int(result.rgb[3 * 31]), 4 * 31);
  EXPECT_EQ(int(result.rgb[3 * 32]), 9);
}

TEST(InputPictures, AReferenceIsShownInTheSizeOfItsShape) {
  Parts parts = parts_of("DDIMScheduler");
  parts.latents.multiple = 16;
  parts.shown.sizes = {{720, 1456}, {800, 1328}, {1024, 1024}, {1568, 680}};
  const auto shown = [&](int width, int height) {
    Request r = request_of(4);
    r.references = {grey_image(width, height, [](int, int) { return 9; })};
    const at::Tensor reference = InputPictures(parts, r).references.at(0);
    return Size{static_cast<int>(reference.size(3)), static_cast<int>(reference.size(2))};
  };
  EXPECT_EQ(shown(64, 64), (Size{1024, 1024}));
  EXPECT_EQ(shown(48, 80), (Size{800, 1328}));
  EXPECT_EQ(shown(40, 64), (Size{720, 1456})) << "of the 32x64 pixels that are whole patches";
  EXPECT_EQ(shown(64, 20), (Size{1568, 672})) << "in whole patches";
}

TEST(InputPictures, AReferenceOfItsOwnSizeIsCutToWholePatches) {
  Parts parts = parts_of("DDIMScheduler");
  parts.latents.multiple = 16;
  parts.shown = {.most = 10, .most_pixels = 1024 * 1024, .least_side = 64, .most_lengthy = 8, .gives_size = true};
  const auto shown = [&](int width, int height) {
    Request r = request_of(4);
    r.references = {grey_image(width, height, [](int x, int) { return x % 251; })};
    return InputPictures(parts, r).references.at(0);
  };
  const at::Tensor cut = shown(77, 90);  // to 64x80: six columns and five rows are left out before it
  EXPECT_EQ(cut.sizes(), (at::IntArrayRef{1, 3, 80, 64}));
  EXPECT_NEAR(cut[0][0][0][0].item<double>(), 2 * 6 / 255.0 - 1, 1e-6);
  EXPECT_EQ(shown(2000, 1000).sizes(), (at::IntArrayRef{1, 3, 720, 1440})) << "of 1448x724";

  Models models{"toy", parts, {}};
  models.base.defaults = {.steps = 4, .width = 64, .height = 64};
  Request r = request_of(4);
  r.width.reset(), r.height.reset();
  r.references = {grey_image(77, 90, [](int, int) { return 9; }), grey_image(64, 64, [](int, int) { return 9; })};
  const Request planned = make_plan(models, r, nullptr).request();
  EXPECT_EQ((Size{*planned.width, *planned.height}), (Size{64, 80})) << "the first one's";
  const auto refusal = [&](int width, int height) {
    r.references = {grey_image(width, height, [](int, int) { return 9; })};
    return message_of(Fault::input, [&] { make_plan(models, r, nullptr); });
  };
  EXPECT_NE(refusal(63, 90).find("a picture of 63x90 is too small"), std::string::npos);
  EXPECT_NE(refusal(640, 72).find("is too wide"), std::string::npos);
  EXPECT_NE(refusal(64, 513).find("is too high"), std::string::npos);
}

TEST(SettlePictures, ModelsSayWhatPicturesTheyTake) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.defaults = {.steps = 4, .width = 64, .height = 64};
  Request r = request_of(4);
  const auto refusal = [&] { return message_of(Fault::usage, [&] { make_plan(models, r, nullptr); }); };
  r.references = {grey_image(32, 32, [](int, int) { return 9; })};
  EXPECT_EQ(refusal().find("references: toy is not a model that edits pictures"), 0u) << refusal();
  models.base.shown = {.most = 1, .sizes = {{64, 64}}};
  make_plan(models, r, nullptr);
  r.references.push_back(r.references[0]);
  EXPECT_NE(refusal().find("toy is shown 1 picture, and 2 are given"), std::string::npos) << refusal();
  r.init_image = r.references[0];
  r.references.clear();
  EXPECT_NE(refusal().find("which is shown pictures with references"), std::string::npos) << refusal();
  models.base.shown = {};
  models.base.extra_channels = ExtraChannels::steering_picture;
  r.controls = {{std::exchange(r.init_image, nullptr)}};
  make_plan(models, r, nullptr);
  r.controls[0].scale = 0.5;
  EXPECT_NE(refusal().find("it has no scale"), std::string::npos) << refusal();
  r.controls.clear();
  EXPECT_NE(refusal().find("toy is steered by a picture"), std::string::npos) << refusal();
  models.base.extra_channels = ExtraChannels::picture_and_mask;
  EXPECT_NE(refusal().find("toy is a model that repaints pictures"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace sdgen
