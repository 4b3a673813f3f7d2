// The transformer of Z-Image (Z-Image Team, 2025, "Z-Image: An Efficient Image Generation Foundation Model with
// Single-Stream Diffusion Transformer"; diffusers' ZImageTransformer2DModel): a picture's patches and a prompt's tokens
// are refined in layers of their own, then attend to each other in layers of one stream. Learned tokens fill both up to
// whole groups.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/sandwich_layer.h"

namespace sdgen {

struct ZImageConfig {
  std::int64_t channels = 16;  // in_channels
  std::int64_t width = 3840;   // dim
  std::int64_t layers = 30, refiner_layers = 2, heads = 30;
  std::int64_t caption_width = 2560;  // cap_feat_dim: of what becomes of a prompt
  double norm_eps = 1e-5, rope_theta = 256, time_scale = 1000;
  bool qk_norm = true;
  std::vector<std::int64_t> axes = {32, 48, 48};  // axes_dims: numbers of a head that say which place, row, column

  // Throws Error(input) that names key and value.
  static ZImageConfig from(const Config& json);
};

// Latents a token, along a side.
inline constexpr std::int64_t kZImagePatch = 2;

class ZImageTransformer : public Module, public Backbone {
 public:
  ZImageTransformer(const Weights& w, const ZImageConfig& config);

  // x: sides are multiples of kZImagePatch. t: 1000 sigma. Conditioning: context, whose tokens all count.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

 private:
  struct Stream;                              // tokens, and by what each is turned
  Tensor embed(const Tensor& t) const;        // [B, embedding width]
  Tensor turned(const Tensor& places) const;  // by which angles, which diffusers rounds to float32
  Stream prompt(const Tensor& context) const;
  Stream picture(const Tensor& x, std::int64_t place) const;

  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;

  ZImageConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> patches_, caption_, time_in_, time_out_;
  std::shared_ptr<RmsNorm> caption_norm_;
  Tensor patch_pad_, caption_pad_;  // [1, width]
  std::vector<std::shared_ptr<SandwichLayer>> picture_refiners_, caption_refiners_, layers_;
  std::shared_ptr<ScaledOut> out_;
};

}  // namespace sdgen
