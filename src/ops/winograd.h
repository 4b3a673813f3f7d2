// Convolutions of 3x3 in float32 on the CPU with four ninths of the multiplications: tiles of 2x2 results, each from
// the 4x4 pixels that it sees, as 16 products of tiles with weights (Winograd's F(2x2, 3x3): Lavin and Gray, "Fast
// algorithms for convolutional neural networks", 2015, equations 11 and 12). Rounding grows to about twice a direct
// convolution's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sdgen::ops::winograd {

// Whether a convolution with a weight of these sizes [out, in, k, k] is worth it: enough channels, and, but for large
// pictures, not so many that the weights, which grow from 9 numbers to 16, are what takes the time, and the memory.
bool pays(at::IntArrayRef weight, std::int64_t stride, std::int64_t padding, bool large_pictures);

constexpr std::int64_t kProducts = 16;

// What n kernels of 3x3 become: [n][3][3] -> [16][n].
void transform(const float* kernels, std::int64_t n, float* to);

// out = in * weight + bias + plus. `sets` are the 16 matrices of the weight, each as Kernels::pack lays it out,
// set_size numbers each; bias may be null, plus undefined. in [B, C, H, W], plus and out [B, N, H, W]: of each the
// channels lie side by side.
void convolve(const at::Tensor& in, const float* sets, std::int64_t set_size, const float* bias, const at::Tensor& plus,
              const at::Tensor& out);

}  // namespace sdgen::ops::winograd
