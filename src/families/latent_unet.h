// What Stable Diffusion 1, 2 and XL have in common: a U-Net on an autoencoder's latents that looks at the states of
// CLIP's text encoders (Rombach et al., 2022).
#pragma once

#include "families/assembly.h"
#include "nn/unet_config.h"

namespace sdgen {

// What a family gives its U-Net.
struct UNetInputs {
  TextInputs text;
  std::int64_t context_width = 0, pooled_width = 0;  // of what becomes of a prompt; 0: no summary
  SizeInputs sizes = {};
  double scaling = 1;                // of latents, where files do not say it
  bool zero_empty_negative = false;  // see TextPart
  bool unread_is_usual = false;      // files of this kind hold more of an encoder than is used: no warning
};

// Throws Error(input) unless the model's U-Net takes that.
void require_unet_takes(const UNetInputs& inputs, const ModelFiles& model);
Parts assemble_latent_unet(const ModelFiles& model, const Family& family, const UNetInputs& inputs,
                           const AssembleOptions& options, const Warn& warn);

Size native_size_in_latents(const ModelFiles& model);
// "Stable Diffusion 1" with " inpainting", " depth" or " LCM" after it where that is so.
std::string with_variant(std::string name, const ModelFiles& model);

}  // namespace sdgen
