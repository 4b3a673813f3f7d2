// The transformer of Chroma1 (Lodestone Rock, 2025; diffusers' ChromaTransformer2DModel): Flux.1's layers without their
// modulations. One small network says what moves each layer, from the step and the layer's number; nothing is told of
// the whole prompt.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/block_cache.h"
#include "nn/flux_blocks.h"

namespace sdgen {

struct ChromaConfig : FluxSizes {
  std::int64_t move_channels = 64;  // approximator_num_channels: what the small network is told
  std::int64_t move_width = 5120;   // approximator_hidden_dim
  std::int64_t move_layers = 5;     // approximator_layers

  // Vectors that move the layers: three of each with one stream, six of either stream of the others, and two at the
  // end.
  std::int64_t moves() const { return 3 * single_layers + 12 * double_layers + 2; }

  // Throws Error(input) that names key and value.
  static ChromaConfig from(const Config& json);
};

class ChromaTransformer : public Module, public Backbone {
 public:
  ChromaTransformer(const Weights& w, const ChromaConfig& config);

  // x: sides are multiples of kFluxPatch. t: 1000 sigma. Conditioning: context and its mask.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return run(nullptr, x, t, conditioning);
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning, BlockCache& cache) const {
    return run(&cache, x, t, conditioning);
  }

 private:
  struct Moves;
  Tensor run(BlockCache* cache, const Tensor& x, const Tensor& t, const Conditioning& conditioning) const;

  ChromaConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> tokens_, context_;
  std::shared_ptr<Moves> moves_;
  std::vector<std::shared_ptr<MovedDoubleBlock<GeluFeedForward>>> double_blocks_;
  std::vector<std::shared_ptr<MovedSingleBlock>> single_blocks_;
  std::shared_ptr<Linear> out_;
};

}  // namespace sdgen
