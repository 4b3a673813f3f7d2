// The transformer of Lumina-Image 2.0 (Qin et al., 2025, section 3.1; diffusers' Lumina2Transformer2DModel): a prompt's
// tokens and a picture's patches are refined in layers of their own, then attend to each other in layers of one stream.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/sandwich_layer.h"

namespace sdgen {

struct Lumina2Config {
  std::int64_t sample_size = 128;  // latents, a side, that it was trained on
  std::int64_t patch = 2, channels = 16;
  std::int64_t width = 2304;  // hidden_size
  std::int64_t layers = 26, refiner_layers = 2, heads = 24, kv_heads = 8;
  std::int64_t ff_width = 9216;       // from multiple_of and ffn_dim_multiplier
  std::int64_t caption_width = 1024;  // cap_feat_dim: of what becomes of a prompt
  double norm_eps = 1e-5;
  std::vector<std::int64_t> axes = {32, 32, 32};  // axes_dim_rope: numbers of a head that say which place, row, column

  // Throws Error(input) that names key and value.
  static Lumina2Config from(const Config& json);
};

class Lumina2Transformer : public Module, public Backbone {
 public:
  Lumina2Transformer(const Weights& w, const Lumina2Config& config);

  // x: sides are multiples of the patch. t: 1000 sigma. Conditioning: context, whose tokens all count.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

 private:
  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;

  Lumina2Config config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> patches_, caption_;
  std::shared_ptr<RmsNorm> caption_norm_;
  std::shared_ptr<Mlp2> time_;
  std::vector<std::shared_ptr<SandwichLayer>> picture_refiners_, caption_refiners_, layers_;
  std::shared_ptr<ScaledOut> out_;
};

}  // namespace sdgen
