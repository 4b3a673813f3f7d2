// Autoencoders against diffusers', values to 1e-5; and what has no fixture: the tiny one, and drawing from what the
// other says.
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <c10/core/InferenceMode.h>

#include "core/layers.h"
#include "core/tensor_files.h"
#include "nn/qwen_vae.h"
#include "nn/tiny_autoencoder.h"
#include "nn/vae.h"

namespace sdgen {
namespace {

using test::expect_all_read;
using test::expect_close;
using test::Fixture;
using test::kLayerTolerance;
using test::Tensors;
using test::test_name;
using test::with_old_names;
using test::write_tensors;

VaeConfig vae_config(const Fixture& f) {
  return f.config().has("batch_norm_eps") ? VaeConfig::flux2(f.config()) : VaeConfig::from(f.config());
}

class VaeFixture : public testing::TestWithParam<const char*> {};

TEST_P(VaeFixture, DecodesAndEncodesAsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/vae-") + GetParam());
  const Vae vae(with_old_names(f, f.weights()), vae_config(f));
  // The shifted one's are the loop's.
  const Tensor latents = f.tensor("in.latents");
  expect_close(vae.decode(f.has("out.loop") ? latents : latents * vae.config().scaling_factor), f.tensor("out.image"),
               kLayerTolerance, "image");
  const Vae::Posterior posterior = vae.encode(f.tensor("in.image"));
  const auto moments = f.tensor("out.moments").chunk(2, 1);
  expect_close(posterior.mean, moments[0], kLayerTolerance, "mean");
  if (f.has("out.loop"))
    expect_close(vae.encode(f.tensor("in.image"), {}), f.tensor("out.loop"), kLayerTolerance, "shifted and scaled");
  expect_close(posterior.log_variance, moments[1].clamp(-30.0, 20.0), kLayerTolerance, "log variance");
}

// A picture whose left and right differ so that norms of the tiles' own would show.
TEST_P(VaeFixture, DecodesTilesWithoutSeams) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/vae-") + GetParam());
  const Vae vae(with_old_names(f, f.weights()), vae_config(f));
  at::manual_seed(3);
  const Tensor contrast = at::arange(0.2, 3.1, 0.1).narrow(0, 0, 29).view({1, 1, 1, -1});
  const AutoencoderInfo info = vae.config().info();
  const Tensor latents = at::randn({2, info.latent_channels, 21, 29}) * contrast + contrast;
  const Tensor whole = vae.decode(latents), tiles = vae.decode_in_tiles(latents, 8);
  constexpr double one = 2.0 / 255;  // of 255 levels from -1 to 1
  const double range = (whole.max() - whole.min()).item<double>();
  EXPECT_LE((tiles - whole).abs().max().item<double>(), one * range / 2);
  EXPECT_TRUE(at::equal(vae.decode_in_tiles(latents, 29 * vae.config().patch), whole));
  const std::int64_t pixels = 8 * info.factor;
  const Tensor alone = vae.decode(latents.narrow(3, 0, 8));
  EXPECT_GT((alone - whole.narrow(3, 0, pixels)).abs().max().item<double>(), 10 * one);
  EXPECT_TRUE(at::equal(vae.decode(latents), whole));  // the norms are themselves again
}

TEST_P(VaeFixture, EncodesTilesWithoutSeams) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/vae-") + GetParam());
  const Vae vae(with_old_names(f, f.weights()), vae_config(f));
  at::manual_seed(4);
  const std::int64_t factor = vae.config().factor(), height = 41 * factor, width = 53 * factor;
  const Tensor contrast = at::linspace(0.1, 1, width).view({1, 1, 1, -1});
  const Tensor pictures = at::randn({2, 3, height, width}) * contrast + (contrast - 0.5);
  const Vae::Posterior whole = vae.encode(pictures), tiles = vae.encode_in_tiles(pictures, 16);
  const double deviation = whole.mean.std().item<double>();
  EXPECT_LE((tiles.mean - whole.mean).abs().max().item<double>(), 0.02 * deviation);
  EXPECT_LE((tiles.log_variance - whole.log_variance).abs().max().item<double>(),
            0.02 * whole.log_variance.std().item<double>());
  EXPECT_TRUE(at::equal(vae.encode_in_tiles(pictures, 53).mean, whole.mean));
  const Tensor alone = vae.encode(pictures.narrow(3, 0, 16 * factor)).mean;
  EXPECT_GT((alone - whole.mean.narrow(3, 0, 16)).abs().max().item<double>(), 0.2 * deviation);
  EXPECT_TRUE(at::equal(vae.encode(pictures).mean, whole.mean));
}

INSTANTIATE_TEST_SUITE_P(Variants, VaeFixture,
                         testing::Values("sd", "three-blocks", "no-quant-no-attention", "old-names", "shifted",
                                         "flux2"),
                         test_name);

TEST(QwenVaeFixture, DecodesAndEncodesAsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-vae");
  const Weights w = f.weights(at::kDouble);
  const QwenVae vae(w, QwenVaeConfig::from(f.config()));
  expect_close(vae.decode(f.tensor("in.latents")), f.tensor("out.image"), kLayerTolerance, "image");
  expect_close(vae.encode(f.tensor("in.image"), {}), f.tensor("out.loop"), kLayerTolerance, "latents");
  expect_all_read(w);
}

TEST(QwenVaeFixture, DecodesTilesWithoutSeams) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-vae");
  const QwenVae vae(f.weights(), QwenVaeConfig::from(f.config()));
  at::manual_seed(3);
  const Tensor latents = at::randn({2, 4, 37, 43});
  const Tensor whole = vae.decode(latents);
  expect_close(vae.decode_in_tiles(latents, 16), whole, 1e-4, "tiles");
  EXPECT_TRUE(at::equal(vae.decode_in_tiles(latents, 43), whole));
  EXPECT_FALSE(at::allclose(vae.decode(latents.narrow(3, 0, 16)), whole.narrow(3, 0, 64), 0, 1e-2));
}

TEST(QwenVaeFixture, DrawsFromItsPosterior) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-vae");
  const QwenVae vae(f.weights(at::kDouble), QwenVaeConfig::from(f.config()));
  const Tensor picture = f.tensor("in.image"), mean = vae.encode(picture, {});
  const auto drawn = [&](double noise) { return vae.encode(picture, [&] { return at::full(mean.sizes(), noise); }); };
  expect_close(drawn(0), mean, 1e-6, "no noise");
  expect_close(drawn(2) - mean, 2 * (drawn(1) - mean), kLayerTolerance, "twice the noise");
  EXPECT_GT((drawn(1) - mean).min().item<double>(), 0);
}

// Of one block a level, two levels and five channels, as its makers' code has it.
TEST(TinyAutoencoder, ComputesWhatItsMakersDo) {
  const c10::InferenceMode inference;
  at::manual_seed(1);
  const Scratch scratch;
  Tensors all;
  const auto conv = [&all](const std::string& name, std::int64_t out, std::int64_t in, bool bias = true) {
    all[name + ".weight"] = 0.3 * at::randn({out, in, 3, 3}, at::kFloat);
    if (bias) all[name + ".bias"] = at::randn({out}, at::kFloat);
  };
  const auto block = [&](const std::string& name) {
    for (const char* part : {".conv.0", ".conv.2", ".conv.4"}) conv(name + part, 5, 5);
  };
  conv("encoder.layers.0", 5, 3), block("encoder.layers.1");
  conv("encoder.layers.2", 5, 5, /*bias=*/false), block("encoder.layers.3"), conv("encoder.layers.4", 4, 5);
  conv("decoder.layers.0", 5, 4), block("decoder.layers.2");  // 1 is an activation, 3 the doubling
  conv("decoder.layers.4", 5, 5, /*bias=*/false), block("decoder.layers.5"), conv("decoder.layers.6", 3, 5);
  const auto file = write_tensors(scratch, "tiny.safetensors", all);
  const Json json = {
      {"num_encoder_blocks", {1, 1}},         {"num_decoder_blocks", {1, 1}}, {"encoder_block_out_channels", {5, 5}},
      {"decoder_block_out_channels", {5, 5}}, {"scaling_factor", 0.5},        {"shift_factor", 0.3}};
  const TinyAutoencoder tiny(test::open_weights({file}, at::kCPU, at::kFloat),
                             TinyAutoencoderConfig::from(Config(json, "test")));

  const auto through = [&all](const std::string& name, const Tensor& x, std::int64_t stride = 1) {
    const auto bias = all.find(name + ".bias");
    return at::conv2d(x, all.at(name + ".weight"), bias == all.end() ? std::nullopt : std::optional(bias->second),
                      {stride, stride}, {1, 1});
  };
  const auto through_block = [&](const std::string& name, const Tensor& x) {
    const Tensor h = at::relu(through(name + ".conv.2", at::relu(through(name + ".conv.0", x))));
    return at::relu(through(name + ".conv.4", h) + x);
  };
  const Tensor latents = 2 * at::randn({2, 4, 3, 5}, at::kFloat);
  Tensor h = at::relu(through("decoder.layers.0", at::tanh((latents / 0.5 + 0.3) / 3) * 3));
  h = through_block("decoder.layers.2", h);
  h = through("decoder.layers.4", at::upsample_nearest2d(h, {6, 10}));
  h = through("decoder.layers.6", through_block("decoder.layers.5", h));
  test::expect_close(tiny.decode(latents), 2 * h - 1, 1e-5, "decoded");

  const Tensor pictures = at::randn({2, 3, 6, 10}, at::kFloat).clamp(-1, 1);
  h = through_block("encoder.layers.1", through("encoder.layers.0", (pictures + 1) / 2));
  h = through_block("encoder.layers.3", through("encoder.layers.2", h, 2));
  test::expect_close(tiny.encode(pictures, {}), 0.5 * (through("encoder.layers.4", h) - 0.3), 1e-5, "encoded");
}

TEST(Vae, DrawsFromItsPosteriorAndScales) {
  const c10::InferenceMode inference;
  const test::Fixture f("layers/vae-shifted");
  const Vae vae(f.weights(), VaeConfig::from(f.config()));
  const Tensor picture = f.tensor("in.image");
  const Vae::Posterior posterior = vae.encode(picture);
  const double factor = vae.config().scaling_factor, shift = vae.config().shift_factor;
  ASSERT_NE(factor, 1);
  ASSERT_NE(shift, 0);
  test::expect_close(vae.encode(picture, {}), factor * (posterior.mean - shift), 1e-6, "the mean");
  at::manual_seed(2);
  const Tensor noise = at::randn(posterior.mean.sizes(), at::kFloat);
  const Tensor deviation = (posterior.log_variance / 2).exp();
  test::expect_close(vae.encode(picture, [&] { return noise; }), factor * (posterior.mean + deviation * noise - shift),
                     1e-6, "a draw");
}

}  // namespace
}  // namespace sdgen
