// ControlNets for Flux.1 (diffusers' FluxControlNetModel): a copy of some of the transformer's layers. Those of
// InstantX and Shakker Labs see a picture's latents, and may know several kinds of pictures; XLabs' fold its pixels.
#pragma once

#include "nn/controlnet.h"
#include "nn/flux_transformer.h"

namespace sdgen {

struct FluxControlNetConfig {
  FluxConfig copied;        // in_channels: of what is drawn, and of the picture
  std::int64_t modes = 0;   // num_mode: kinds of pictures that it is told apart; 0: it knows one kind
  std::int64_t folded = 0;  // conditioning_embedding_channels that pixels are folded to; 0: it sees latents
  // Pixels a latent, along a side, of one that folds.
  static constexpr std::int64_t kFold = 8;

  // Throws Error(input) that names key and value.
  static FluxControlNetConfig from(const Config& json);
};

class FluxControlNet : public Module, public TransformerControlNet {
 public:
  FluxControlNet(const Weights& w, const FluxControlNetConfig& config);

  LayerSamples samples(const ControlView& view, const SteerableTransformer& steered) const override;
  bool sees_prompts_alone() const override { return true; }

 private:
  FluxControlNetConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Linear> tokens_, context_, picture_;
  std::shared_ptr<PictureEmbedding> fold_;
  std::shared_ptr<Embedding> mode_;
  std::shared_ptr<TimeTextEmbedding> embedding_;
  std::vector<std::shared_ptr<FluxDoubleBlock>> double_blocks_;
  std::vector<std::shared_ptr<FluxSingleBlock>> single_blocks_;
  std::vector<std::shared_ptr<Linear>> zero_, single_zero_;
};

}  // namespace sdgen
