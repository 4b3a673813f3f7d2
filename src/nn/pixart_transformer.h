// The transformer of PixArt-alpha and PixArt-Sigma (Chen et al., 2024, figure 4; diffusers' PixArtTransformer2DModel):
// a picture's patches attend to each other, then to the prompt's tokens. One network makes of the time what moves all
// layers; a layer has but a table of what it adds.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/attention.h"
#include "nn/backbone.h"
#include "nn/block_cache.h"
#include "nn/dit.h"

namespace sdgen {

struct PixArtConfig {
  std::int64_t sample_size = 128;  // latents, a side, that it was trained on
  std::int64_t patch = 2, in_channels = 4, out_channels = 8;
  std::int64_t layers = 28, heads = 16, width = 1152;
  std::int64_t caption_width = 4096;  // caption_channels: of what becomes of a prompt
  double position_scale = 1;          // interpolation_scale: how much closer patches stand than in a picture of 512x512
  double norm_eps = 1e-6;
  bool told_sizes = false;      // use_additional_conditions: it is told height, width and shape
  std::int64_t pixels = 8;      // of a latent, along a side, in which it is told so
  bool projection_bias = true;  // attention_bias

  // Throws Error(input) that names key and value.
  static PixArtConfig from(const Config& json);
};

class PixArtTransformer : public Module, public Backbone {
 public:
  PixArtTransformer(const Weights& w, const PixArtConfig& config);

  // Conditioning: context, context_mask. A learned variance, the second half of what it gives, is left out.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

 private:
  struct Block;
  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;
  // What the network knows of the step, and of the picture's size.
  Tensor embed(const Tensor& x, const Tensor& t) const;  // [B, width]

  PixArtConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Patches> patches_;
  std::shared_ptr<Mlp2> time_, size_, shape_;
  std::shared_ptr<Modulation> modulation_;
  std::shared_ptr<Mlp2> caption_;
  std::vector<std::shared_ptr<Block>> blocks_;
  Tensor table_;  // [2, width]: shift and scale of the last norm
  std::shared_ptr<Linear> out_;
};

}  // namespace sdgen
