// The transformer of Qwen-Image (Wu et al., 2025; diffusers' QwenImageTransformer2DModel): a flow on latents in tokens
// of 2x2, beside the states of a language model, both moved by the timestep alone.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/dit.h"

namespace sdgen {

struct QwenImageConfig {
  std::int64_t in_channels = 64, out_channels = 64;  // of tokens
  std::int64_t layers = 60, heads = 24, width = 3072, context_width = 3584;
  std::vector<std::int64_t> axes = {16, 56, 56};  // of a head's channels, for picture, row and column

  // Throws Error(input) that names key and value.
  static QwenImageConfig from(const Config& json);
};

class QwenImageTransformer : public Module, public Backbone {
 public:
  QwenImageTransformer(const Weights& w, const QwenImageConfig& config);

  // Conditioning: context, of prompts of one length.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

  const QwenImageConfig& config() const { return config_; }

 private:
  struct Block;
  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;

  QwenImageConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> tokens_, context_, out_;
  std::shared_ptr<RmsNorm> context_norm_;
  std::shared_ptr<Mlp2> time_;
  std::shared_ptr<Modulation> norm_out_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

}  // namespace sdgen
