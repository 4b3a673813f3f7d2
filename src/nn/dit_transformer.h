// The class-conditional diffusion transformer (Peebles and Xie, 2023; diffusers' DiTTransformer2DModel): patches attend
// to each other, moved in every layer by what it makes of the step and of a class.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/attention.h"
#include "nn/backbone.h"
#include "nn/block_cache.h"
#include "nn/dit.h"

namespace sdgen {

struct DiTConfig {
  std::int64_t sample_size = 32;  // latents, a side, of all its pictures
  std::int64_t patch = 2, in_channels = 4, out_channels = 4;
  std::int64_t layers = 28, heads = 16, width = 1152;
  std::int64_t classes = 1000;  // num_embeds_ada_norm; the number after the last one is that of no class
  double norm_eps = 1e-5;       // of the norms before the feed-forward networks
  bool projection_bias = true;  // attention_bias

  // Throws Error(input) that names key and value.
  static DiTConfig from(const Config& json);
};

class DiTTransformer : public Module, public Backbone {
 public:
  DiTTransformer(const Weights& w, const DiTConfig& config);

  // Conditioning: classes. A learned variance, the second half of what it gives, is left out.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

 private:
  struct Block;
  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;
  DiTConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Patches> patches_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<Linear> modulation_, out_;
};

}  // namespace sdgen
