// The CUDA plugin's kernels (src/cuda), which the functions of ops.h call.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/ops.h"
#include "ops/replays.h"

namespace sdgen::ops::cuda {

// Whether kernels of ours are there for a tensor like this one: it is on a CUDA device, in float32, float16 or
// bfloat16, and the plugin lies beside the program.
bool takes(const Tensor& x);

// x is channels_last.
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps, bool silu,
                  const Tensor& shift);
// x is contiguous.
Tensor geglu(const Tensor& x);

// Records CUDA graphs; null where the plugin is missing.
Replays::Recorder recorder(at::Device device);

}  // namespace sdgen::ops::cuda
