// What becomes of a text encoder's states: skipped layers, weights, chunks, encoders side by side.
#include "model/conditioner.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "formats/model_files.h"
#include "formats/tokenizers.h"
#include "model/clip_encoder.h"
#include "model/network_files.h"

namespace sdgen {
namespace {

using at::Tensor;

const auto kNobody = [](const std::string&) {};
constexpr ClipStates kLast{.left_out = 0, .normed = true}, kLastButOne{.left_out = 1, .normed = false};

// Encoders side by side, and the last one's summary; the mask, for want of a place of its own, where sizes are.
Conditioning join(std::span<const Encoded> prompt, const TextSettings&) {
  std::vector<Tensor> states;
  for (const Encoded& one : prompt) states.push_back(one.states);
  Conditioning c;
  c.context = at::cat(states, -1);
  c.pooled = prompt.back().pooled;
  c.context_mask = prompt.back().mask;
  return c;
}

// Its states are the ids, which count where they are even.
struct Ids : PromptEncoder {
  explicit Ids(std::unique_ptr<Tokenizer> tokenizer) : own(std::move(tokenizer)) {}
  const Tokenizer& tokenizer() const override { return *own; }
  Encoded encode(const std::vector<int>& ids, int) const override {
    const Tensor row = at::tensor(ids).unsqueeze(0);
    return {row.unsqueeze(-1).to(at::kFloat), {}, row.remainder(2).eq(0)};
  }
  std::unique_ptr<Tokenizer> own;
};

class Conditioner : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> tokenizer() const { return tokenizer_of(model_.at("text_encoder")); }
  std::unique_ptr<ClipText> network() const {
    const Component& c = model_.at("text_encoder");
    return std::make_unique<ClipText>(weights_of(c, {at::kCPU, at::kFloat}), ClipTextConfig::from(c.config));
  }
  PromptConditioner conditioner(ClipStates states, int encoders = 1) const {
    std::vector<std::unique_ptr<PromptEncoder>> list;
    for (int i = 0; i < encoders; ++i)
      list.push_back(std::make_unique<ClipEncoder>(tokenizer(), network(), states, at::kCPU));
    return {std::move(list), join};
  }
  static Tensor context(PromptConditioner& conditioner, const std::string& prompt, PromptSyntax syntax,
                        int clip_skip = 0) {
    return conditioner.encode({prompt}, {syntax, clip_skip}, kNobody).context;
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
  PromptConditioner last = conditioner(kLast), before = conditioner(kLastButOne);
  for (const int skip : {0, 1, 2})
    EXPECT_TRUE(context(last, "a red fox", PromptSyntax::plain, skip).equal(text->normed(output.hidden[2 - skip])))
        << skip << " layers, with the last norm";
  for (const int skip : {0, 1})
    EXPECT_TRUE(context(before, "a red fox", PromptSyntax::plain, skip).equal(output.hidden[1 - skip]))
        << skip << " layers, as they are";
}

TEST_F(Conditioner, WeightsKeepTheMeanOfTheWhole) {
  PromptConditioner c = conditioner(kLast);
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
  PromptConditioner c = conditioner(kLastButOne);
  const auto encoded = [&](const std::string& prompt) { return c.encode({prompt}, {PromptSyntax::weighted}, kNobody); };
  const Conditioning both = encoded("a fox BREAK the moon"), fox = encoded("a fox"), moon = encoded("the moon");
  EXPECT_FALSE(fox.pooled.equal(moon.pooled));
  EXPECT_TRUE(both.pooled.equal(fox.pooled));
  EXPECT_TRUE(both.context.equal(at::cat({fox.context, moon.context}, 1)));
  EXPECT_EQ(c.chunks({"a fox BREAK the moon"}, 0), 2u);
}

TEST_F(Conditioner, EncodersStandBehindEachOther) {
  PromptConditioner single = conditioner(kLastButOne), pair = conditioner(kLastButOne, 2);
  const Tensor fox = context(single, "a fox", PromptSyntax::plain), moon = context(single, "moon", PromptSyntax::plain);
  const auto both = [&pair](const Texts& texts) { return pair.encode(texts, {}, kNobody).context; };
  EXPECT_TRUE(both({"a fox"}).equal(at::cat({fox, fox}, -1))) << "one text is for all of them";
  EXPECT_TRUE(both({"a fox", "moon"}).equal(at::cat({fox, moon}, -1)));
}

// Each text has its chunks, and the shorter one gets empty ones.
TEST_F(Conditioner, EncodersAreToldTextsOfDifferentLengths) {
  PromptConditioner single = conditioner(kLastButOne), pair = conditioner(kLastButOne, 2);
  const Texts texts{"a fox", "moon BREAK sun"};
  EXPECT_EQ(pair.chunks(texts, 0), 2u);
  const auto one = [&single](const std::string& prompt) { return context(single, prompt, PromptSyntax::weighted); };
  EXPECT_TRUE(pair.encode(texts, {PromptSyntax::weighted}, kNobody)
                  .context.equal(at::cat({at::cat({one("a fox"), one("")}, 1), one("moon BREAK sun")}, -1)));
}

// One encoder says what is cut of a text, unless they are told different ones.
TEST_F(Conditioner, SaysOnceWhatIsCutOfEachText) {
  PromptConditioner pair = conditioner(kLastButOne, 2);
  std::string words, others;
  for (int i = 0; i < 100; ++i) words += "fox ", others += "moon ";
  const auto warnings = [&pair](const Texts& texts) {
    std::size_t count = 0;
    pair.encode(texts, {}, [&count](const std::string&) { ++count; });
    return count;
  };
  EXPECT_EQ(warnings({words}), 1u);
  EXPECT_EQ(warnings({words, words}), 1u);
  EXPECT_EQ(warnings({words, others}), 2u);
}

TEST_F(Conditioner, TheSummaryIsTheEncoders) {
  EXPECT_TRUE(conditioner(kLast).encode({"a fox"}, {}, kNobody).pooled.equal(states("a fox").pooled));
}

// An encoder says which of its tokens count: of each chunk.
TEST_F(Conditioner, MasksStandSideBySideAsTheirChunksDo) {
  std::vector<std::unique_ptr<PromptEncoder>> list;
  list.push_back(std::make_unique<Ids>(tokenizer()));
  PromptConditioner c(std::move(list), join);
  const Conditioning both = c.encode({"a fox BREAK the moon"}, {PromptSyntax::weighted}, kNobody);
  ASSERT_EQ(both.context.sizes(), (std::vector<std::int64_t>{1, 2 * 77, 1}));
  EXPECT_TRUE(both.context_mask.equal(both.context.squeeze(-1).remainder(2).eq(0)));
  EXPECT_FALSE(both.context_mask.narrow(1, 0, 77).equal(both.context_mask.narrow(1, 77, 77)));
}

}  // namespace
}  // namespace sdgen
