// What is counted on the meta device: operations as PyTorch counts those of diffusers' networks, and the bytes of
// tensors.
#include "pipeline/estimate.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/scratch.h"
#include "device/device.h"
#include "families/networks.h"
#include "ops/ops.h"
#include "ops/tally.h"
#include "pipeline/measure.h"

namespace sdgen {
namespace {

const std::filesystem::path kTiny = std::filesystem::path(SDGEN_FIXTURES) / "tiny-sd",
                            kEmbedded = std::filesystem::path(SDGEN_SOURCE) / "models/default";

at::Tensor on_paper(at::IntArrayRef sizes) { return at::empty(sizes, at::TensorOptions().device(at::kMeta)); }

// As diffusers' network does it: it doubles a picture before it looks at 3x3 pixels of it, we at 2x2 of the small one.
double as_diffusers(const ops::Tally& tally) {
  double all = 0;
  for (const auto& [call, count] : tally.calls())
    all += count * call.operations() * (call.kind == ops::Call::Kind::doubling ? 9.0 / 4 : 1);
  return all;
}

// The numbers are torch.utils.flop_counter.FlopCounterMode's (torch 2.11.0, diffusers 0.42.1) of UNet2DConditionModel
// on [2, in_channels, sample_size, sample_size] with 77 tokens, and of AutoencoderKL.decode on one picture of that
// size.
TEST(Tally, CountsWhatPyTorchCountsOfDiffusersNetworks) {
  const c10::InferenceMode inference;
  for (const auto& [model, unet_operations, vae_operations] :
       {std::tuple{kTiny, 7911424.0, 10035200.0}, {kEmbedded, 1034551296.0, 3473350656.0}}) {
    const ModelFiles files = open_model(model, [](const std::string&) {});
    const Where nowhere{at::kMeta, at::kFloat};
    const Component& backbone = *files.find("unet");
    const UNetConfig config = UNetConfig::from(backbone.config);
    const UNet unet(weights_of(backbone, nowhere), config);
    {
      ops::Tally drawn;
      const Conditioning conditioning{.context = on_paper({2, 77, backbone.config.integer("cross_attention_dim", 0)})};
      unet.predict(on_paper({2, backbone.config.integer("in_channels", 0), 8, 8}), on_paper({2}), conditioning);
      EXPECT_EQ(as_diffusers(drawn), unet_operations) << model;
    }
    with_autoencoder(*files.find("vae"),
                     [&, of = model, expected = vae_operations]<class Network>(Network*, const auto& config) {
                       const Network network(weights_of(*files.find("vae"), nowhere), config);
                       ops::Tally drawn;
                       network.decode(on_paper({1, files.find("vae")->config.integer("latent_channels", 4), 8, 8}));
                       EXPECT_EQ(std::int64_t(as_diffusers(drawn)), std::int64_t(expected)) << of;
                     });
  }
}

TEST(Tally, CountsCallsAndBytesOfItsThreadAlone) {
  const at::Tensor before = on_paper({1000});
  ops::Tally tally;
  {
    const at::Tensor x = on_paper({4, 6, 8}), weight = on_paper({10, 8}), y = ops::linear(x, weight, {});
    EXPECT_EQ(y.sizes(), (std::vector<std::int64_t>{4, 6, 10}));
    EXPECT_EQ(tally.bytes(), 4 * (4 * 6 * 8 + 10 * 8 + 4 * 6 * 10));
    EXPECT_EQ(tally.other_bytes(), 4 * (4 * 6 * 8 + 10 * 8));
  }
  const ops::Call product{ops::Call::Kind::product, at::kFloat, {24, 8, 10}};
  EXPECT_EQ(tally.calls(), (std::map<ops::Call, double>{{product, 1}}));
  EXPECT_EQ(product.operations(), 2 * 24 * 8 * 10);
  EXPECT_EQ(tally.bytes(), 0);
  EXPECT_EQ(tally.most_bytes(), 4 * (4 * 6 * 8 + 10 * 8 + 4 * 6 * 10));
}

TEST(Measure, TakesAsLongAsThereIsWork) {
  Work work;
  work.calls[{ops::Call::Kind::product, at::kFloat, {64, 256, 256}}] = 100;
  double once = measured_seconds(work, 0.1);  // of several, as other programs may be in the way
  for (int i = 0; i < 4; ++i) once = std::min(once, measured_seconds(work, 0.1));
  work.calls.begin()->second = 10'000;
  EXPECT_GT(once, 0);
  EXPECT_GT(measured_seconds(work, 0.1), 20 * once);
}

// A picture is drawn on paper by the code that draws it: as many calls, and every stage.
TEST(Estimate, IsOfTheWholeRun) {
  LoadOptions options;
  options.precision = Precision::float32;
  options.batch_size = 2;
  LoadOptions on_paper = options;
  on_paper.device = kOnPaper;
  Observer nobody;
  const Pipeline pipeline = Pipeline::load(kTiny, on_paper, nobody);
  Request request;
  request.prompt = "a fox", request.seed = 1, request.steps = 4;
  const auto estimate = [&](int pictures) {
    Estimator estimator(pipeline, options, "cpu");
    for (int i = 0; i < pictures; ++i) estimator.add(pipeline.plan(request));
    return estimator.result(nobody);
  };
  const Estimate one = estimate(1), two = estimate(2), five = estimate(5);
  EXPECT_EQ(one.batches, 1u);
  EXPECT_EQ(two.batches, 1u) << "a short batch is as long as a whole one";
  EXPECT_EQ(two.operations, one.operations);
  EXPECT_EQ(five.batches, 3u);
  EXPECT_EQ(five.calls, 3 * one.calls);
  EXPECT_GT(five.operations, 2.5 * one.operations);
  EXPECT_EQ(five.activation_bytes, one.activation_bytes);
  request.steps = 8;
  const Estimate longer = estimate(1);
  // PyTorch's count of a call, for 4 more of 2 pictures with and without prompt, without what doubling saves.
  EXPECT_NEAR(longer.operations - one.operations, 4 * 2 * 7911424.0, 0.2 * 4 * 2 * 7911424.0);
  EXPECT_GT(longer.step_bytes, 0u);
  EXPECT_GT(longer.autoencoder_bytes, 0u);
  EXPECT_GT(longer.text_bytes, 0u);
}

}  // namespace
}  // namespace sdgen
