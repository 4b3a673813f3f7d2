// The few operators that networks spend their time in, each a plain function. What runs is chosen by the tensors: on
// the CPU in float32 and bfloat16 kernels of our own and oneDNN's with weights laid out beforehand, on CUDA the
// plugin's kernels (src/cuda), and ATen's operators for everything else, which are also what the tests compare with.
//
// Pictures are [B, C, H, W], fastest where they are channels_last, which results then are too.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <span>

namespace sdgen {

// What follows a layer; by the names of configs. Calling it applies it.
struct Activation {
  enum Kind { none, silu, gelu, quick_gelu, relu, mish, gelu_tanh };
  Kind kind = none;
  explicit operator bool() const { return kind != none; }
  at::Tensor operator()(const at::Tensor& x) const;
};
inline constexpr Activation kSilu{Activation::silu};

namespace ops {

using at::Tensor;

// As ATen takes what may be undefined.
inline std::optional<Tensor> if_defined(const Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }

// Does one of them learn, or come from what does? Kernels of ours and weights that are laid out for kernels have no
// gradients: with true, an operator is one of ATen's, which libtorch differentiates.
template <class... Tensors>
bool wants_gradient(const Tensors&... tensors) {
  return at::GradMode::is_enabled() && ((tensors.defined() && tensors.requires_grad()) || ...);
}

// Weights [out, in] and [out, in, k, k] laid out for the kernels of their device, good for linear() and conv2d() alone.
// Where there is nothing to gain it is the weight itself. Large pictures: even where a network has most channels they
// are some 32 pixels high and wide.
Tensor packed_linear(const Tensor& weight);
Tensor packed_conv2d(const Tensor& weight, std::int64_t stride, std::int64_t padding, bool large_pictures = false);
// The weight that packed_linear() got.
Tensor unpacked_linear(const Tensor& packed);

// x weight^T + bias + plus: x [..., in], plus [..., out]; bias and plus may be undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus = {});

// Convolution with zero padding, plus a tensor like the result, where defined.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride, std::int64_t padding,
              const Tensor& plus = {});

// Nearest-neighbour to twice the size, then a 3x3 convolution with zero padding, as one 2x2 convolution of the small
// picture with four results a pixel: what falls on the same pixel is summed beforehand, and 4 of 9 products are left.
// The weight is packed_doubling_conv2d's, or the plain one; [B, in, H, W] -> [B, out, 2H, 2W].
Tensor packed_doubling_conv2d(const Tensor& weight);
Tensor doubling_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias);

// act(group_norm(x + shift)) (Wu and He, 2018): weight and bias [C]; shift [B, C], or undefined.
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps,
                  Activation act = {}, const Tensor& shift = {});

// The two halves of a norm whose picture comes in pieces. Of x [1, C, H, W], every channel's mean and variance over the
// pixels: float64 [2, C], on the CPU.
Tensor channel_moments(const Tensor& x);
// act(x * scale + offset), scale and offset float32 [C], on the CPU.
Tensor scale_channels(const Tensor& x, const Tensor& scale, const Tensor& offset, Activation act = {});

// norm(x) (1 + scale) + shift with a norm of the last dimension that has no weights (Ba et al., 2016; Peebles and Xie,
// 2023, figure 3): x [B, N, width], scale and shift [B, width].
Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps);

// x / sqrt(mean of its squares + eps) * weight over the last dimension (Zhang and Sennrich, 2019).
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

// The queries of several streams of tokens, or their keys or values, one behind the other, ready for attention: every
// head's normalised by rms_norm(), then every pair of its numbers, as a complex one, turned by its token's rotation (Su
// et al., 2021).
struct Heads {
  Tensor x;     // [B, N, heads*width]
  Tensor norm;  // [width]; undefined: they are not normalised
};
// rotations: complex64 [all tokens, width/2], or undefined.
Tensor joined_heads(std::span<const Heads> streams, std::int64_t heads, double eps, const Tensor& rotations = {});

// The first half of the last dimension times gelu of the second (Shazeer, 2020): [..., 2n] -> [..., n].
Tensor geglu(const Tensor& x);

// softmax(q k^T / sqrt(width)) v with the heads side by side in the last dimension (Vaswani et al., 2017, equation 1).
//   q [B, N, heads*width], k and v [B, M, heads*width] -> [B, N, heads*width]; causal: position i sees positions <= i.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal = false);

// The same with a bias of the scores: softmax(scale q k^T + bias) v. bias [1 or B, 1 or heads, 1 or N, M]; of booleans:
// keys with false do not count.
Tensor biased_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, const Tensor& bias,
                        double scale);

}  // namespace ops
}  // namespace sdgen
