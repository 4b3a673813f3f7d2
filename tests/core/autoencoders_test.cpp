// Of autoencoders what has no fixture: the tiny one, and drawing from what the other says.
#include <ATen/ops/conv2d.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "core/tensor_files.h"
#include "nn/tiny_autoencoder.h"
#include "nn/vae.h"

namespace sdgen {
namespace {

using test::Tensors;
using test::write_tensors;

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
