// Seeded noise: the same bits as torch.Generator("cpu").manual_seed(seed) gives diffusers, on every device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "diffusion/types.h"

namespace sdgen {

// Unit Gaussians for a batch of pictures, each picture from a CPU generator of its own, so that a picture's noise does
// not depend on its batch. Drawn contiguous, NCHW, float32, on the CPU, then moved: any other way gives other bits.
class SeededNoise {
 public:
  // shape: of one picture's latents, [C, H, W].
  SeededNoise(std::span<const std::uint64_t> seeds, std::vector<std::int64_t> shape, at::Device device);
  at::Tensor operator()();  // [B, C, H, W], the next draw

 private:
  std::vector<at::Generator> generators_;
  std::vector<std::int64_t> shape_;  // [1, C, H, W]
  at::Device device_;
};

// What a run that begins at `step` starts from when x0 is known (image to image): diffusers' add_noise.
at::Tensor noised(const at::Tensor& x0, const at::Tensor& noise, const Step& step);

}  // namespace sdgen
