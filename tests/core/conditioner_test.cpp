// What becomes of a text encoder's states: skipped layers, weights, chunks, encoders side by side.
#include "model/conditioner.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "formats/model_files.h"
#include "model/network_files.h"

namespace sdgen {
namespace {

using at::Tensor;

const auto kNobody = [](const std::string&) {};

class Conditioner : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> tokenizer() const { return model_.tokenizer("text_encoder"); }
  std::unique_ptr<ClipText> network() const {
    const Component& c = model_.at("text_encoder");
    return std::make_unique<ClipText>(weights_of(c, {at::kCPU, at::kFloat}), ClipTextConfig::from(c.config));
  }
  ClipConditioner conditioner(bool penultimate, int encoders = 1) const {
    std::vector<ClipConditioner::Encoder> list;
    for (int i = 0; i < encoders; ++i) list.push_back({tokenizer(), network()});
    return {std::move(list), penultimate, at::kCPU};
  }
  static Tensor context(const ClipConditioner& conditioner, const std::string& prompt, PromptSyntax syntax,
                        int clip_skip = 0) {
    return conditioner.encode(prompt, syntax, clip_skip, kNobody).context;
  }
  ClipText::Output states(const std::string& prompt) const {
    return network()->forward(at::tensor(tokenize(*tokenizer(), prompt).ids, at::kLong).unsqueeze(0));
  }

  const c10::InferenceMode inference_;
  const ModelFiles model_ =
      open_model(std::filesystem::path(SDGEN_FIXTURES) / "tiny-sd", [](const std::string&) {});  // of two layers
};

TEST_F(Conditioner, SkipsLayersFromTheEnd) {
  const ClipText::Output output = states("a red fox");
  ASSERT_EQ(output.hidden.size(), 3u);
  const std::unique_ptr<ClipText> text = network();
  const ClipConditioner last = conditioner(/*penultimate=*/false), before = conditioner(/*penultimate=*/true);
  for (const int skip : {0, 1, 2})
    EXPECT_TRUE(context(last, "a red fox", PromptSyntax::plain, skip).equal(text->normed(output.hidden[2 - skip])))
        << skip << " layers, with the last norm";
  for (const int skip : {0, 1})
    EXPECT_TRUE(context(before, "a red fox", PromptSyntax::plain, skip).equal(output.hidden[1 - skip]))
        << skip << " layers, as they are";
}

TEST_F(Conditioner, WeightsKeepTheMeanOfTheWhole) {
  const ClipConditioner c = conditioner(/*penultimate=*/false);
  const Tensor plain = context(c, "a fox", PromptSyntax::weighted);
  EXPECT_TRUE(plain.equal(context(c, "a fox", PromptSyntax::plain))) << "nothing is weighted";
  // Begin, "a", and all of "fox" twice.
  std::vector<float> weights(77, 1);
  const std::size_t a = tokenizer()->encode("a").size(), fox = tokenizer()->encode("fox").size();
  std::fill_n(weights.begin() + 1 + std::ptrdiff_t(a), fox, 2.0f);
  const Tensor scaled = plain * at::tensor(weights).unsqueeze(-1);
  test::expect_close(context(c, "a (fox:2)", PromptSyntax::weighted), scaled * (plain.mean() / scaled.mean()), 1e-5,
                     "weighted");
}

TEST_F(Conditioner, ChunksStandSideBySideAndTheFirstOneIsPooled) {
  const ClipConditioner c = conditioner(/*penultimate=*/true);
  const auto encoded = [&](const std::string& prompt) { return c.encode(prompt, PromptSyntax::weighted, 0, kNobody); };
  const Conditioning both = encoded("a fox BREAK the moon"), fox = encoded("a fox"), moon = encoded("the moon");
  EXPECT_FALSE(fox.pooled.equal(moon.pooled));
  EXPECT_TRUE(both.pooled.equal(fox.pooled));
  EXPECT_TRUE(both.context.equal(at::cat({fox.context, moon.context}, 1)));
  EXPECT_EQ(c.chunks("a fox BREAK the moon"), 2u);
}

TEST_F(Conditioner, EncodersStandBehindEachOther) {
  const Tensor one = context(conditioner(/*penultimate=*/true), "a fox", PromptSyntax::plain);
  EXPECT_TRUE(
      context(conditioner(/*penultimate=*/true, 2), "a fox", PromptSyntax::plain).equal(at::cat({one, one}, -1)));
}

TEST_F(Conditioner, OnlySdxlPools) {
  EXPECT_FALSE(conditioner(/*penultimate=*/false).encode("x", PromptSyntax::plain, 0, kNobody).pooled.defined());
  EXPECT_TRUE(conditioner(/*penultimate=*/true)
                  .encode("a fox", PromptSyntax::plain, 0, kNobody)
                  .pooled.equal(states("a fox").pooled));
}

}  // namespace
}  // namespace sdgen
