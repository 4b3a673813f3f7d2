// CLIP's text encoder (Radford et al., 2021; transformers' CLIPTextModel and CLIPTextModelWithProjection).
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/layers.h"

namespace sdgen {

struct ClipTextConfig {
  std::int64_t vocab_size = 49408, width = 512, inner_width = 2048, layers = 12, heads = 8, max_positions = 77;
  std::int64_t projection_width = 512;  // of text_projection, in files that have one
  double norm_eps = 1e-5;
  std::int64_t eos_id = 49407;  // 2: old configs, whose pooled position is the largest id
  Activation act;

  // Throws Error(input) that names key and value.
  static ClipTextConfig from(const Config& json);
};

class ClipText : public Module {
 public:
  // Keys with or without the leading "text_model.". `words` [n, width] are the vectors of n ids after the config's
  // vocabulary (textual inversion); undefined: none.
  ClipText(const Weights& w, const ClipTextConfig& config, const Tensor& words = {});

  struct Output {
    std::vector<Tensor>
        hidden;     // [B, N, width]: the embeddings, then the result of every layer, without the final norm
    Tensor last;    // [B, N, width]: hidden.back() after the final norm
    Tensor pooled;  // [B, width] or [B, projection_width]: `last` at the first end token, projected
  };
  Output forward(const Tensor& ids) const;  // int64 [B, N], N <= max_positions
  Tensor normed(const Tensor& hidden) const { return final_norm_->forward(hidden); }

  const ClipTextConfig& config() const { return config_; }

 private:
  struct Layer;
  ClipTextConfig config_;
  std::shared_ptr<Embedding> tokens_, positions_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::shared_ptr<LayerNorm> final_norm_;
  std::shared_ptr<Linear> projection_;
};

}  // namespace sdgen
