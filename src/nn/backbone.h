// What the denoising loop sees of a network.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "nn/text_memory.h"

namespace sdgen {

// What a network is told besides the noisy picture, a row for each of its batch: [negative prompts; prompts] under
// classifier-free guidance. Undefined: the model at hand has no such input.
struct Conditioning {
  at::Tensor context;            // [B, tokens, width]: hidden states of the text encoders
  at::Tensor context_mask = {};  // [B, tokens] bool: the tokens that count; undefined: all
  at::Tensor pooled = {};        // [B, width]: projected summary of the prompt (SDXL)
  at::Tensor size_ids = {};      // [B, n] float32: original size, crop, target size or aesthetic score (SDXL)
  at::Tensor classes = {};       // [B] int64: the number of what is drawn (DiT)
  at::Tensor guidance = {};      // [B] float64: the guidance scale, of networks that were distilled on it (LCM, Flux)
  // [B, C, h, w] each, of any size: latents of pictures that are shown (Flux Kontext: one; FLUX.2)
  std::vector<at::Tensor> references = {};
  mutable TextMemory of_text = {};  // what layers made of the context, where the loop has it kept

  // The only list of the tensors.
  template <class Self>
  static auto members(Self& c) {
    std::vector all{&c.context, &c.context_mask, &c.pooled, &c.size_ids, &c.classes, &c.guidance};
    for (auto& reference : c.references) all.push_back(&reference);
    return all;
  }
  Conditioning rows(std::int64_t begin, std::int64_t end) const;
  std::size_t bytes() const;
  static Conditioning stacked(std::span<const Conditioning> ones);  // one after the other; at least one
};

struct Backbone {
  virtual ~Backbone() = default;
  // x [B, C, H, W] float32, noisy latents as the network was trained on them; t [B] float32 on x's device, the
  // timesteps (0..999) -> [B, C, H, W] float32. Threads may share a network; decorators say where they may not be.
  virtual at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const = 0;
};

}  // namespace sdgen
