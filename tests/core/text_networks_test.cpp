// Text encoders against transformers', layer values to 1e-5.
#include <c10/core/InferenceMode.h>

#include "base/scratch.h"
#include "core/layers.h"
#include "nn/clip_text.h"
#include "nn/decoder_text.h"
#include "nn/t5.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using test::expect_all_read;
using test::expect_close;
using test::Fixture;
using test::kLayerTolerance;
using test::test_name;

class ClipFixture : public testing::TestWithParam<const char*> {};

TEST_P(ClipFixture, EqualsTransformers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/clip-") + GetParam());
  const ClipText encoder(f.weights(), ClipTextConfig::from(f.config()));
  const ClipText::Output output = encoder.forward(f.tensor("in.ids"));
  expect_close(output.last, f.tensor("out.last"), kLayerTolerance, "last");
  for (std::size_t k = 0; k < output.hidden.size(); ++k)
    if (const std::string name = concat("out.hidden_states.", k); f.has(name))
      expect_close(output.hidden[k], f.tensor(name), kLayerTolerance, name);
  expect_close(output.pooled, f.tensor(f.has("out.text_embeds") ? "out.text_embeds" : "out.pooled"), kLayerTolerance,
               "pooled");
}

INSTANTIATE_TEST_SUITE_P(Variants, ClipFixture,
                         testing::Values("quick-gelu", "gelu", "projection", "legacy-eos", "open-clip"), test_name);

class T5Fixture : public testing::TestWithParam<const char*> {};

TEST_P(T5Fixture, EqualsTransformers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const T5 encoder(w, T5Config::from(f.config()));
  expect_close(encoder.forward(f.tensor("in.ids")), f.tensor("out.states"), kLayerTolerance, GetParam());
  expect_all_read(w);
}

TEST(T5, TokensBehindTheSeenOnesLookAtThem) {
  const c10::InferenceMode inference;
  const Fixture f("layers/t5-seen");
  const T5 encoder(f.weights(at::kDouble), T5Config::from(f.config()));
  expect_close(encoder.forward(f.tensor("in.ids"), 20), f.tensor("out.states"), kLayerTolerance, "states");
}

INSTANTIATE_TEST_SUITE_P(Variants, T5Fixture, testing::Values("t5", "t5-far"), test_name);

class DecoderFixture : public testing::TestWithParam<const char*> {};

// Every hidden state, of tokens and of padding.
TEST_P(DecoderFixture, EqualsTransformers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const DecoderTextConfig config = DecoderTextConfig::from(f.config());
  std::vector<std::int64_t> states;
  for (std::int64_t i = 0; i <= config.layers; ++i) states.push_back(i);
  const DecoderText encoder(w, config.giving(states, "the test"));
  const Tensor all = encoder.forward(f.tensor("in.ids"), f.tensor("in.counted").item<std::int64_t>());
  for (const std::int64_t i : states)
    expect_close(all.slice(2, i * config.width, (i + 1) * config.width), f.tensor(concat("out.hidden_states.", i)),
                 kLayerTolerance, concat(GetParam(), ", state ", i));
  expect_all_read(w);
}

TEST_P(DecoderFixture, ReadsTheLayersThatItNeeds) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const DecoderText encoder(w, DecoderTextConfig::from(f.config()).giving({-2, 1}, "the test"));
  const Tensor all = encoder.forward(f.tensor("in.ids").slice(1, 0, 7), 7);
  const std::int64_t width = encoder.config().width;
  expect_close(all.slice(2, 0, width), f.tensor("out.hidden_states.2").slice(1, 0, 7), kLayerTolerance, "-2");
  expect_close(all.slice(2, width), f.tensor("out.hidden_states.1").slice(1, 0, 7), kLayerTolerance, "1");
  std::size_t unread = 0;
  for (const std::string& name : w.unread()) {
    if (!name.starts_with("w.")) continue;
    EXPECT_TRUE(name.starts_with("w.layers.2.") || name == "w.norm.weight") << name;
    ++unread;
  }
  EXPECT_GE(unread, 12u);
}

TEST(DecoderText, RefusesStatesThatItDoesNotHave) {
  const Fixture f("layers/qwen3");
  const DecoderTextConfig config = DecoderTextConfig::from(f.config());
  for (const std::int64_t state : {-5, 4}) {
    const std::string text = message_of(Fault::input, [&] { (void)config.giving({state}, "config.json"); });
    EXPECT_NE(text.find(concat("hidden state ", state, " of its text encoder, which has 3 layers")), std::string::npos)
        << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, DecoderFixture, testing::Values("qwen3", "qwen3-biased", "qwen2-5", "gemma2"),
                         test_name);

}  // namespace
}  // namespace sdgen
