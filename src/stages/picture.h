// The ways between pictures and latents.
#pragma once

#include "diffusion/types.h"
#include "families.h"

namespace sdgen {

// Pictures [1 or B, 3, H, W] in [-1, 1] -> x0 [B, C, h, w]. Where the autoencoder has a posterior, it is drawn from
// with `noise`, or without one its mean is taken. Throws Error(device); an autoencoder that overflows in half precision
// is asked again in float32.
at::Tensor encode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& pictures, const Noise& noise,
                  Observer& observer);

struct Decoded {
  at::Tensor pictures;  // [B, 3, H, W] in [-1, 1]
  bool in_tiles;
};

// Latents [B, C, h, w] -> pictures. Throws Error(device) for latents and pictures that are not numbers; half precision
// as above. Where memory does not suffice for the whole, it is decoded in tiles.
Decoded decode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& latents, Observer& observer);

}  // namespace sdgen
