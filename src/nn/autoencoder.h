// The pipeline's view of what turns pictures into latents and back.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "sdgen/error.h"

namespace sdgen {

// What is known of an autoencoder before it is built.
struct AutoencoderInfo {
  std::int64_t latent_channels;
  std::int64_t factor;  // pixels a latent, along a side
  bool force_upcast;    // float16 overflows: run in float32
  double offset = 0;    // that the loop's latents have been moved by
};

struct Autoencoder {
  virtual ~Autoencoder() = default;
  // x [B, C, h, w] float32, as the loop leaves it -> [B, 3, H, W] float32 in about [-1, 1].
  virtual at::Tensor decode(const at::Tensor& x) const = 0;
  // The same in pieces, so that memory grows with the picture itself and nothing else. It is the
  // same picture within 1 of 255, and there are no seams.
  virtual at::Tensor decode_in_tiles(const at::Tensor& x) const { return decode(x); }
  // Pictures [B, 3, H, W] float32 in [-1, 1] -> x0 of the loop [B, C, h, w] float32. Where an encoder answers with
  // Gaussians, unit noise [B, C, h, w] is asked for to draw from them; without `noise` these are their means. Throws
  // Error(input) where there is no encoder.
  virtual at::Tensor encode(const at::Tensor& pictures, const std::function<at::Tensor()>& noise) const = 0;
  // The same in pieces.
  virtual at::Tensor encode_in_tiles(const at::Tensor& pictures, const std::function<at::Tensor()>& noise) const {
    return encode(pictures, noise);
  }
  // Does encode() ask for noise?
  virtual bool draws() const { return true; }
  // Does decode() cost little beside a step of the denoising network?
  virtual bool quick() const { return false; }
};

// Of models without latents: x is the picture. A single channel is grey.
struct PixelCodec : Autoencoder {
  at::Tensor decode(const at::Tensor& x) const override { return x.expand({-1, 3, -1, -1}); }
  bool quick() const override { return true; }
  at::Tensor encode(const at::Tensor&, const std::function<at::Tensor()>&) const override {
    throw Error(Fault::input, "a model that draws pixels has no autoencoder");
  }
};

}  // namespace sdgen
