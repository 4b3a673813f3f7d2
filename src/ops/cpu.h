// Kernels for the CPU, in float32 and bfloat16, which the functions of ops.h call.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "ops/kernels.h"
#include "ops/ops.h"

namespace sdgen::ops::cpu {

// Whether kernels of ours exist for tensors like this one.
inline bool takes(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

// The kernels for a tensor's type, and its numbers as they take them.
inline const RowKernels<float>& row_kernels(const float*) { return kernels().of_float; }
inline const RowKernels<bfloat16>& row_kernels(const bfloat16*) { return kernels().of_bfloat16; }
template <class T>
const RowKernels<T>& row_kernels() {
  return row_kernels(static_cast<const T*>(nullptr));
}
template <class T>
T* numbers(const Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}
inline float value(float x) { return x; }
inline float value(bfloat16 x) { return static_cast<float>(c10::BFloat16(x.bits, c10::BFloat16::from_bits())); }
// work(float()) or work(bfloat16()), by the type of x.
template <class Work>
void by_type(const Tensor& x, const Work& work) {
  if (x.scalar_type() == at::kFloat)
    work(float());
  else
    work(bfloat16());
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

// Activations, where torch's own loops give the last numbers of a thread's share other bits than the rest.
inline bool activates(const Tensor& x, Activation::Kind kind) {
  return (kind == Activation::silu || kind == Activation::gelu || kind == Activation::gelu_tanh ||
          kind == Activation::quick_gelu) &&
         takes(x) && x.is_non_overlapping_and_dense();
}
Tensor activated(const Tensor& x, Activation::Kind kind);  // activates()

// x is contiguous.
Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps);
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);
// Each stream is contiguous.
Tensor joined_heads(std::span<const Heads> streams, std::int64_t heads, double eps, const Tensor& rotations);

// Attention in blocks that stay in the cache (Dao et al., 2022). `usable` says whether this machine has the small
// matrix products for these operands, and the shapes suit.
bool attention_usable(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads);
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal);

}  // namespace sdgen::ops::cpu
