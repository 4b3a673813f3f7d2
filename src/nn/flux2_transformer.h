// The transformer of FLUX.2 (Black Forest Labs, 2025; diffusers' Flux2Transformer2DModel): Flux.1's layers of two
// streams, then of one, without biases, all moved alike: what the embedding makes of shifts, scales and gates is shared
// by all layers of a kind. Feed-forward networks are gated, words have a place, and a pooled prompt is not asked for.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/flux_blocks.h"

namespace sdgen {

// A token is one of the loop's latents. The fourth axis is of words.
struct Flux2Config : FluxSizes {
  Flux2Config() : FluxSizes{128, 128, 8, 48, 48, 6144, 15360, {32, 32, 32, 32}} {}
  std::int64_t inner_width = 18432;  // of feed-forward networks: mlp_ratio times the width
  bool guidance = true;              // guidance_embeds: it is told a guidance scale
  double theta = 2000;               // rope_theta

  // Throws Error(input) that names key and value.
  static Flux2Config from(const Config& json);
};

// Linear to twice the inner width, of whose halves silu of the first gates the second, and Linear (Shazeer, 2020, "GLU
// Variants Improve Transformer"). Keys linear_in, linear_out.
struct SwigluFeedForward : Module {
  SwigluFeedForward(const Weights& w, std::int64_t width, std::int64_t inner);
  Tensor forward(const Tensor& x) const;

 private:
  std::shared_ptr<Linear> in_, out_;
};

// Attention and a feed-forward network beside it, whose first layers are one matrix, and whose last are. Keys
// attn.to_qkv_mlp_proj, attn.to_out, attn.norm_q, attn.norm_k.
struct Flux2SingleBlock : Module {
  Flux2SingleBlock(const Weights& w, std::int64_t width, std::int64_t heads, std::int64_t inner);
  // m: shift, scale and gate.
  Tensor forward(const Tensor& x, const std::vector<Tensor>& m, const Tensor& rotations) const;

 private:
  std::int64_t width_, heads_;
  std::shared_ptr<Linear> in_, out_;
  std::shared_ptr<RmsNorm> norm_q_, norm_k_;
};

class Flux2Transformer : public Module, public Backbone {
 public:
  Flux2Transformer(const Weights& w, const Flux2Config& config);

  // t: 1000 sigma. Conditioning: context, guidance where the config has it, and references of any number.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

 private:
  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;

  Flux2Config config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> tokens_, context_;
  std::shared_ptr<TimeTextEmbedding> embedding_;
  std::shared_ptr<Modulation> image_moves_, text_moves_, single_moves_;
  std::vector<std::shared_ptr<MovedDoubleBlock<SwigluFeedForward>>> double_blocks_;
  std::vector<std::shared_ptr<Flux2SingleBlock>> single_blocks_;
  std::shared_ptr<Modulation> norm_out_;
  std::shared_ptr<Linear> out_;
};

}  // namespace sdgen
