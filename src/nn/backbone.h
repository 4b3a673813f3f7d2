// What the denoising loop sees of a network.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdgen {

// What a network is conditioned on besides the noisy picture. Undefined members are not used by the model at hand. The
// batch is [negative prompts; prompts] under classifier-free guidance.
struct Conditioning {
  at::Tensor context;         // [B, tokens, width]: hidden states of the text encoders
  at::Tensor pooled;          // [B, width]: projected summary of the prompt (SDXL)
  at::Tensor size_ids;        // [B, n] float32: original size, crop, target size or aesthetic score (SDXL)
  at::Tensor guidance_embed;  // [B, width]: embedding of a distilled guidance scale (LCM)
};

struct Backbone {
  virtual ~Backbone() = default;
  // x [B, C, H, W] float32 noisy latents of unit-variance scale; t the timestep (0..999); -> [B, C, H, W] float32.
  virtual at::Tensor predict(const at::Tensor& x, double t, const Conditioning& conditioning) const = 0;
};

}  // namespace sdgen
