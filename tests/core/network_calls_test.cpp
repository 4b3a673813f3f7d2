// What a network is asked: calls that are recorded and replayed, rows of what it is told, and what of it is kept.
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include "core/layers.h"
#include "nn/pixart_transformer.h"
#include "nn/replayed.h"
#include "nn/unet.h"
#include "stages/telling.h"

namespace sdgen {
namespace {

using test::Fixture;

// A recorder that runs again what it was given, as a CUDA graph does, and knows no more: what a call depends on must be
// among the recorded inputs.
TEST(Replayed, RecordedCallsAreItsOwn) {
  const c10::InferenceMode inference;
  int recorded = 0, replayed = 0;
  for (const char* name : {"unet-sd1", "unet-sdxl", "unet-time-cond"}) {
    const Fixture f(std::string("layers/") + name);
    const auto plain = std::make_shared<const UNet>(f.weights(), UNetConfig::from(f.config()));
    const Replayed replaying(plain, [&](const std::function<void()>& run) {
      ++recorded;
      run();
      return [&replayed, run] {
        ++replayed;
        run();
      };
    });
    const auto first = [&](const char* key) { return f.has(key) ? f.tensor(key) : Tensor(); };
    for (int call = 0; call < 12; ++call) {
      const std::int64_t rows = 1 + call % 2;  // two shapes
      const auto of_call = [&](const char* key) {
        const Tensor x = first(key);
        return x.defined() ? (x.narrow(0, 0, rows) * (1 + 0.1 * call)).contiguous() : x;
      };
      const Conditioning conditioning{.context = of_call("in.context"),
                                      .pooled = of_call("in.text_embeds"),
                                      .size_ids = of_call("in.time_ids"),
                                      .guidance = of_call("in.guidance")};
      const Tensor x = of_call("in.sample"), t = test::times(x, 80.0 * call);
      EXPECT_TRUE(at::equal(replaying.predict(x, t, conditioning), plain->predict(x, t, conditioning)))
          << name << ", call " << call;
    }
  }
  EXPECT_EQ(recorded, 3 * 2);
  EXPECT_EQ(replayed, 3 * 12);
}

TEST(Replayed, WhatCannotBeRecordedIsRun) {
  const c10::InferenceMode inference;
  const Fixture f("layers/unet-sd1");
  const auto unet = std::make_shared<const UNet>(f.weights(), UNetConfig::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context")};
  const Tensor x = f.tensor("in.sample"), right = unet->predict(x, test::times(x, 7), conditioning);
  int tried = 0;
  const Replayed replaying(unet, [&tried](const std::function<void()>& run) -> std::function<void()> {
    run();
    ++tried;
    TORCH_CHECK(false, "operation not permitted when stream is capturing");
  });
  for (int call = 0; call < 2; ++call)
    EXPECT_TRUE(at::equal(replaying.predict(x, test::times(x, 7), conditioning), right));
  EXPECT_EQ(tried, 1);
}

// Rows are the inverse of stacking, and no member is forgotten by either: a batch of two is its two rows.
TEST(Conditioning, RowsAndStacks) {
  Conditioning all;
  double number = 0;
  for (Tensor* member : Conditioning::members(all)) *member = at::full({2, 3}, ++number);
  for (Tensor* member : Conditioning::members(all)) (*member)[1] += 0.5;
  const std::vector<Conditioning> both{all.rows(0, 1), all.rows(1, 2)};
  const Conditioning again = Conditioning::stacked(both);
  for (std::size_t i = 0; i < Conditioning::members(all).size(); ++i) {
    EXPECT_EQ(Conditioning::members(both[1])[i]->sizes(), (std::vector<std::int64_t>{1, 3}));
    EXPECT_TRUE(at::equal(*Conditioning::members(again)[i], *Conditioning::members(all)[i])) << i;
  }
  const Conditioning nothing;
  EXPECT_FALSE(Conditioning::stacked(std::vector{nothing, nothing}).rows(0, 1).pooled.defined());
}

// The text is read at the first call alone: what happens to it later is not seen, and the numbers are the same.
template <class Network, class NetworkConfig>
void expect_text_is_read_once(const char* name) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + name);
  const Network network(f.weights(), NetworkConfig::from(f.config()));
  const Conditioning told = test::conditioning_of(f, at::kFloat);
  const Tensor x = f.tensor("in.sample"), t = test::times(x, 7), later = test::times(x, 300);
  const Tensor right = network.predict(x, t, told), then = network.predict(x, later, told);
  told.of_text.keep();
  EXPECT_TRUE(at::equal(network.predict(x, t, told), right)) << name;
  const Tensor text = told.context.clone();
  told.context.mul_(-1);
  EXPECT_TRUE(at::equal(network.predict(x, later, told), then)) << name;
  const Conditioning other = told.rows(0, told.context.size(0));
  EXPECT_FALSE(at::equal(network.predict(x, later, other), then)) << name << ": a copy knows nothing";
  told.of_text.forget();
  EXPECT_FALSE(at::equal(network.predict(x, later, told), then)) << name;
  told.context.copy_(text);
  EXPECT_TRUE(at::equal(network.predict(x, later, told), then)) << name;
}

TEST(TextMemory, TheTextIsReadOnce) {
  expect_text_is_read_once<UNet, UNetConfig>("unet-sd1");
  expect_text_is_read_once<UNet, UNetConfig>("unet-sdxl");
  expect_text_is_read_once<PixArtTransformer, PixArtConfig>("pixart");
}

// Nothing is recorded on a CPU: then a call is passed on as it is.
TEST(TextMemory, IsReachedThroughWhatRecordsNothing) {
  struct Asks final : Backbone {
    Tensor predict(const Tensor& x, const Tensor&, const Conditioning& told) const override {
      told.of_text.of(this, [this] { return ++made, TextMemory::Tensors(); });
      return x;
    }
    mutable int made = 0;
  };
  const auto network = std::make_shared<const Asks>();
  const Conditioning told{.context = at::full({1, 1, 1}, 1)};
  told.of_text.keep();
  const Tensor x = at::full({1, 1, 1, 1}, 1.0f);
  for (int call = 0; call < 3; ++call) Replayed(network, nullptr).predict(x, x, told);
  EXPECT_EQ(network->made, 1);
  const Replayed recording(network, [](const std::function<void()>& run) {
    run();
    return run;
  });
  for (int call = 0; call < 3; ++call) recording.predict(x, x, told);
  EXPECT_EQ(network->made, 1 + 1 + 3) << "a recording goes on without what is kept: its text may become another";
}

TEST(Telling, KeepsOneTextAtATime) {
  Conditionings all{{{.context = at::full({2, 1, 1}, 1)}, {.context = at::full({2, 1, 1}, 2)}}, {0, 0, 1, 1, 0}};
  int layer = 0, made = 0;
  const auto ask = [&](Telling& telling, std::size_t call, bool guides) -> const Conditioning& {
    const Conditioning& told = telling.at(call, guides);
    told.of_text.of(&layer, [&] { return ++made, TextMemory::Tensors{told.context}; });
    return told;
  };
  {
    Telling telling(all, 1);
    EXPECT_EQ(ask(telling, 0, true).context.size(0), 2);
    EXPECT_EQ(&ask(telling, 1, true), &all.distinct[0]);
    EXPECT_EQ(made, 1);
    const Conditioning& prompts = ask(telling, 1, false);
    EXPECT_EQ(prompts.context.size(0), 1);
    EXPECT_EQ(made, 2) << "other rows";
    ask(telling, 1, false);
    EXPECT_EQ(made, 2);
    ask(telling, 2, false);
    EXPECT_EQ(made, 3) << "another text";
    ask(telling, 3, true);
    EXPECT_EQ(made, 4);
    ask(telling, 4, true);
    EXPECT_EQ(made, 5) << "the first one again: of one at a time";
  }
  all.distinct[0].of_text.of(&layer, [&] { return ++made, TextMemory::Tensors(); });
  EXPECT_EQ(made, 6) << "nothing is kept when the run is over";
}

}  // namespace
}  // namespace sdgen
