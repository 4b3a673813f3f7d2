// Kernels for the CPU, in float32 and bfloat16, behind the functions of ops.h.
#pragma once

#include <torch/types.h>

#include "ops/ops.h"

namespace sdgen::ops::cpu {

// Whether kernels of ours exist for tensors like this one.
inline bool takes(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

// x is channels_last.
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps, bool silu,
                  const Tensor& shift);

// Pixels [.., C] whose channels lie side by side, like channels_last pictures and what is cut out of them.
inline bool channels_adjoin(const Tensor& x) {
  return x.dim() == 4 && x.numel() > 0 && x.stride(1) == 1 && x.stride(3) == x.size(1);
}
Tensor channel_moments(const Tensor& x);                                                       // x: channels_adjoin()
Tensor scale_channels(const Tensor& x, const Tensor& scale, const Tensor& offset, bool silu);  // x is channels_last

// x is contiguous.
Tensor geglu(const Tensor& x);

// Attention in blocks that stay in the cache (Dao et al., 2022), on oneDNN's small matrix products. `usable` says
// whether this machine has them for these operands, and the shapes suit.
bool attention_usable(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads);
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads);

}  // namespace sdgen::ops::cpu
