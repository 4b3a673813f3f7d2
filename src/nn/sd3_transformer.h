// The transformer of Stable Diffusion 3 and 3.5 (Esser et al., 2024; diffusers' SD3Transformer2DModel): a picture's
// patches and the prompt's tokens go through the network side by side, each with weights of its own, and attend to each
// other.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/sd3_blocks.h"
#include "nn/steerable_transformer.h"

namespace sdgen {

struct Sd3Config {
  std::int64_t sample_size = 128;  // latents, a side, that it was trained on
  std::int64_t patch = 2, in_channels = 16, out_channels = 16;
  std::int64_t layers = 18, heads = 18, width = 1152;
  std::int64_t context_width = 4096;  // joint_attention_dim
  std::int64_t pooled_width = 2048;   // pooled_projection_dim
  std::int64_t table_size = 96;       // pos_embed_max_size: patches, a side, that have a position
  bool qk_norm = false;
  std::set<std::int64_t> dual_layers;  // where patches attend among themselves, too

  // Throws Error(input) that names key and value.
  static Sd3Config from(const Config& json);
};

class Sd3Transformer : public Module, public SteerableTransformer {
 public:
  Sd3Transformer(const Weights& w, const Sd3Config& config);

  // t: 1000 sigma. Conditioning: context, pooled. Nothing is added behind the last layer. Throws Error(usage) for a
  // picture larger than the table of positions, which Latents::most keeps away.
  using SteerableTransformer::predict;
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                 const LayerAdditions& additions) const override {
    return run({}, additions, nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run({}, {}, &cache, x, t, conditioning);
  }
  Tensor tokens(const Tensor& x) const override;
  LayerCounts layers() const override { return {blocks_.size(), 0}; }

  // The network without these layers, whose inputs go to the next ones as they are.
  static std::shared_ptr<const Backbone> without(std::shared_ptr<const Sd3Transformer> whole,
                                                 const std::vector<int>& layers);

 private:
  class Without;
  Tensor run(const std::set<int>& without, const LayerAdditions& additions, BlockCache* cache, const Tensor& x,
             const Tensor& t, const Conditioning& conditioning) const;

  Sd3Config config_;
  at::ScalarType dtype_;
  std::shared_ptr<PlacedPatches> patches_;
  std::shared_ptr<TimeTextEmbedding> embedding_;
  std::shared_ptr<Linear> context_;
  std::vector<std::shared_ptr<Sd3Block>> blocks_;
  std::shared_ptr<Modulation> norm_out_;
  std::shared_ptr<Linear> out_;
};

}  // namespace sdgen
