// What networks are told of a prompt, with a stand-in for the text encoder: rows, what SDXL is told, classes.
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "base/scratch.h"
#include "core/fixture.h"
#include "core/stand_ins.h"
#include "families/sdxl.h"
#include "model/class_conditioner.h"
#include "nn/row_by_row.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::code;
using test::conditioned;
using test::firsts;
using test::parts_of;
using test::request_of;
using test::settle;

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

}  // namespace
}  // namespace sdgen
