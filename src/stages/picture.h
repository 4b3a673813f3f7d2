// The ways between pictures and latents.
#pragma once

#include "diffusion/types.h"
#include "families.h"

namespace sdgen {

// x0 of the picture that the request begins with, [B, C, h, w]: where the posterior is drawn from, that is the first
// draw of each picture's generator, as diffusers has it. Throws Error(device).
at::Tensor encode(const Parts& parts, const Autoencoder& autoencoder, const Request& request, const Noise& noise,
                  Observer& observer);

// Latents [B, C, h, w] -> pictures [B, 3, H, W] in [-1, 1]. Throws Error(device) for latents and pictures that are not
// numbers; an autoencoder that overflows in half precision is asked again in float32.
at::Tensor decode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& latents, Observer& observer);

}  // namespace sdgen
