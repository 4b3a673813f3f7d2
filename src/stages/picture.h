// The ways between pictures and latents.
#pragma once

#include "diffusion/types.h"
#include "families.h"

namespace sdgen {

// Both ways: `in_tiles`: in pieces; it becomes true where memory does not suffice for the whole. An autoencoder that
// overflows in half precision is asked again in float32. Throws Error(device).

// Pictures [1 or B, 3, H, W] in [-1, 1] -> x0 [B, C, h, w]. Where the autoencoder has a posterior, it is drawn from
// with `noise`, or without one its mean is taken.
at::Tensor encode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& pictures, const Noise& noise,
                  bool& in_tiles, Observer& observer);

// Latents [B, C, h, w] -> pictures [B, 3, H, W] in [-1, 1]. Latents that are not numbers are an error of the U-Net's.
at::Tensor decode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& latents, bool& in_tiles,
                  Observer& observer);

}  // namespace sdgen
