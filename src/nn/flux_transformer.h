// The transformer of Flux.1 (Black Forest Labs, 2024; diffusers' FluxTransformer2DModel): layers of two streams, in
// which a picture's tokens and the prompt's have weights of their own and attend to each other, then layers of one
// stream of all of them, whose attention and feed-forward network work side by side. Rotary positions say where tokens
// are.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/flux_blocks.h"
#include "nn/steerable_transformer.h"

namespace sdgen {

struct FluxConfig : FluxSizes {
  std::int64_t pooled_width = 768;  // pooled_projection_dim
  bool guidance = false;            // guidance_embeds: it is told a guidance scale

  // Throws Error(input) that names key and value.
  static FluxConfig from(const Config& json);
};

class FluxTransformer : public Module, public SteerableTransformer {
 public:
  FluxTransformer(const Weights& w, const FluxConfig& config);

  // x: sides are multiples of kFluxPatch. t: 1000 sigma. Conditioning: context, pooled, guidance where the config has
  // it, and where it is shown one, references.
  using SteerableTransformer::predict;
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                 const LayerAdditions& additions) const override {
    return run(additions, nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run({}, &cache, x, t, conditioning);
  }
  Tensor tokens(const Tensor& x) const override;
  LayerCounts layers() const override { return {double_blocks_.size(), single_blocks_.size()}; }

 private:
  Tensor run(const LayerAdditions& additions, BlockCache* cache, const Tensor& x, const Tensor& t,
             const Conditioning& conditioning) const;

  FluxConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> tokens_, context_;
  std::shared_ptr<TimeTextEmbedding> embedding_;
  std::vector<std::shared_ptr<FluxDoubleBlock>> double_blocks_;
  std::vector<std::shared_ptr<FluxSingleBlock>> single_blocks_;
  std::shared_ptr<Modulation> norm_out_;
  std::shared_ptr<Linear> out_;
};

}  // namespace sdgen
