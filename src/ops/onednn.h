// oneDNN's products in bfloat16 with weights in its own layouts. libtorch's operators for that are registered, but not
// declared in any header.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/ops.h"

namespace sdgen::ops::onednn {

// Does libtorch register all operators that are called here, in its namespace `library` ("mkldnn")?
bool has_operators(const char* library);

// Whether weights like this one are packed here.
bool takes(const Tensor& weight);

Tensor packed_linear(const Tensor& weight);
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus);

// oneDNN lays out a convolution's weight for the size of the picture, and a layout for another size would be converted
// in every call by its slowest code. So the first call with a size lays out, and those after it find what they need.
Tensor packed_conv2d(const Tensor& weight, std::int64_t stride, std::int64_t padding);
bool is_packed_conv2d(const Tensor& weight);
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride, std::int64_t padding);

}  // namespace sdgen::ops::onednn
