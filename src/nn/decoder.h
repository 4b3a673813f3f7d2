// What the pipeline sees of whatever turns the denoising loop's result into pictures.
#pragma once

#include <torch/types.h>

namespace sdgen {

struct Decoder {
  virtual ~Decoder() = default;
  // x [B, C, h, w] float32, as the loop leaves it -> [B, 3, H, W] float32 in about [-1, 1].
  virtual at::Tensor decode(const at::Tensor& x) const = 0;
};

// Of models without latents: x is the picture. A single channel is grey.
struct PixelDecoder : Decoder {
  at::Tensor decode(const at::Tensor& x) const override { return x.expand({-1, 3, -1, -1}); }
};

}  // namespace sdgen
