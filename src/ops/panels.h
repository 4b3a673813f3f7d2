// Products in float32 on the CPU, by kernels of our own: weights lie in panels (ops/kernels.h), rows are read where
// they are. Nothing is laid out for a size of picture, so that nothing is laid out again for another, and a number of
// the result depends on its own row alone: not on the batch or the threads, and on where in a picture it lies by
// whether its coordinates are odd.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace sdgen::ops::panels {

// Whether weights of this kind are packed here.
bool takes(at::Device device, at::ScalarType dtype);

// How many numbers are kept of a weight of these sizes, wherever it is packed; a convolution's grow where that pays.
std::uint64_t numbers_kept(at::IntArrayRef weight, at::Device device, at::ScalarType dtype, bool large_pictures);

// Opaque tensors of the same sizes, [out, in] and [out, in, k, k].
Tensor packed(const Tensor& weight);
// For conv2d with this stride and padding alone; where it pays (ops/winograd.h), in 16 matrices.
Tensor packed_conv2d(const Tensor& weight, std::int64_t stride, std::int64_t padding, bool large_pictures);
// The four kernels of doubling_conv2d [out, in, 2, 2], in its order.
Tensor packed_doubling(const std::vector<Tensor>& kernels);

bool is_packed(const Tensor& weight);

// As the functions of ops.h, with packed weights.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus);
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride, std::int64_t padding,
              const Tensor& plus);
Tensor doubling_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace sdgen::ops::panels
