// ControlNets for Stable Diffusion 3 and 3.5 (diffusers' SD3ControlNetModel): a copy of the transformer's first layers,
// or layers of one stream that are not told the prompt (3.5 large).
#pragma once

#include <set>
#include <vector>

#include "io/json.h"
#include "nn/sd3_blocks.h"
#include "nn/steerable_transformer.h"

namespace sdgen {

struct Sd3ControlNetConfig {
  std::int64_t patch = 2, in_channels = 16;
  std::int64_t layers = 18, heads = 18, width = 1152;
  std::int64_t context_width = 4096;  // joint_attention_dim; 0: it is not told the prompt's words
  std::int64_t pooled_width = 2048;
  std::int64_t table_size = 96;  // pos_embed_max_size; 0: its patches are nowhere
  bool own_tokens = true;        // use_pos_embed; else it takes the transformer's
  bool zero_pooled = true;       // force_zeros_for_pooled_projection: it is not told the whole prompt either
  bool qk_norm = false;
  std::set<std::int64_t> dual_layers;

  // Throws Error(input) that names key and value.
  static Sd3ControlNetConfig from(const Config& json);
};

class Sd3ControlNet : public Module, public TransformerControlNet {
 public:
  Sd3ControlNet(const Weights& w, const Sd3ControlNetConfig& config);

  // Of the picture it sees latents.
  LayerSamples samples(const ControlView& view, const SteerableTransformer& steered) const override;
  bool sees_prompts_alone() const override { return false; }

 private:
  Sd3ControlNetConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<PlacedPatches> patches_, picture_;
  std::shared_ptr<TimeTextEmbedding> embedding_;
  std::shared_ptr<Linear> context_;
  std::vector<std::shared_ptr<Sd3Block>> blocks_;
  std::vector<std::shared_ptr<Linear>> zero_;
};

}  // namespace sdgen
