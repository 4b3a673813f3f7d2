// Pictures as networks see them.
#pragma once

#include <ATen/core/Tensor.h>

#include "sdgen/sdgen.h"

namespace sdgen {

// [3, H, W] in [-1, 1], clipped there -> 8 bits.
Image to_image(const at::Tensor& picture);

// -> [1, 3, H, W] float32 in [0, 1]: sample / 255.
at::Tensor to_unit_tensor(const Image& image);
// -> [1, 3, H, W] float32 in [-1, 1]: 2 (sample / 255) - 1.
at::Tensor to_tensor(const Image& image);

}  // namespace sdgen
