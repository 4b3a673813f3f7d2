// The ways between pictures and latents.
#pragma once

#include "diffusion/types.h"
#include "families/families.h"
#include "sdgen/error.h"

namespace sdgen {

// Whether an autoencoder works in tiles, for one picture or batch: both ways or neither, since a record has one word
// for it.
struct Tiling {
  bool on;                     // becomes true when memory runs out for the whole
  bool encoded_whole = false;  // from then on it cannot become true
};

// Memory has run out for the whole, and a part of the work was done on the whole: it has to start again in
// tiles.
struct NeedsTiles : Error {
  using Error::Error;
};

// Pictures [1 or B, 3, H, W] in [-1, 1] -> x0 [B, C, h, w]. Where the autoencoder has a posterior, it is drawn from
// with `noise`, or without one its mean is taken. An autoencoder that overflows in half precision is asked again in
// float32. Throws NeedsTiles, Error(device).
at::Tensor encode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& pictures, const Noise& noise,
                  Tiling& tiling, Observer& observer);

// Latents [B, C, h, w] -> pictures [B, 3, H, W] in [-1, 1]; overflow and errors as above. Latents that are not numbers
// are an error of the denoising network's, or of the LoRAs in it.
at::Tensor decode(const Parts& parts, const Autoencoder& autoencoder, const at::Tensor& latents,
                  std::span<const LoraInfo> loras, Tiling& tiling, Observer& observer);

}  // namespace sdgen
