// Convolutions in whole numbers of 8 bits, as int8.h has products.
#pragma once

#include "ops/ops.h"

namespace sdgen::ops::int8 {

// Whether such a convolution is made of a weight of these sizes, [out, in, k, k]: of stride 1, with a result of the
// picture's size, of 32 channels and more.
bool convolves(at::IntArrayRef weight, std::int64_t stride, std::int64_t padding);

// The weight in whole numbers, with a scale for each of its rows, good for ops::conv2d() alone, in float32 or bfloat16
// on the CPU. There every pixel of x is rounded as a row of linear_int8() is, so that a result depends on the pixels
// that it sees and on nothing else. Requires convolves() and has_int8().
Tensor packed_conv2d(const Tensor& weight);

bool is_packed(const Tensor& weight);

// ops::conv2d() with such a weight. Requires is_packed().
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus);

}  // namespace sdgen::ops::int8
