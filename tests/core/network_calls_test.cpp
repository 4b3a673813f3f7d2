// What a network is asked: calls that are recorded and replayed, and rows of what it is told.
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include "core/layers.h"
#include "nn/replayed.h"
#include "nn/unet.h"

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

}  // namespace
}  // namespace sdgen
