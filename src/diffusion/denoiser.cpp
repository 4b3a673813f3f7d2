#include "diffusion/denoiser.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/std.h>

#include <cmath>

namespace sdgen {
namespace {

// Of each picture, [B, 1, 1, 1].
at::Tensor deviation(const at::Tensor& x) {
  return at::std(x, at::OptionalIntArrayRef({1, 2, 3}), std::optional<at::Scalar>(1), /*keepdim=*/true);
}

// The lengths of what keeps them, as x is or such that they spread over it.
at::Tensor norms_of(const at::Tensor& x, KeptNorms kept) {
  if (kept == KeptNorms::of_rows) return at::norm(x, 2, {-1}, /*keepdim=*/true);
  constexpr std::int64_t side = 2;
  const at::Tensor norms = at::norm(at::pixel_unshuffle(x, side), 2, {1}, /*keepdim=*/true);
  return norms.repeat_interleave(side, 2).repeat_interleave(side, 3);
}

// Guided answers: `answers` are without a prompt, then with each.
at::Tensor guide(const std::vector<at::Tensor>& answers, const Guidance& guidance) {
  const at::Tensor& without = answers[0];
  const auto at_scale = [&](double scale) {
    at::Tensor sum = without;
    for (std::size_t i = 0; i < guidance.weights.size(); ++i)
      sum = sum + scale * guidance.weights[i] * (answers[i + 1] - without);
    return sum;
  };
  at::Tensor out = at_scale(guidance.scale);
  const bool keeps = guidance.kept_norms != KeptNorms::none;
  if (guidance.rescale <= 0 && !keeps) return out;
  const at::Tensor with = answers.size() == 2 ? answers[1] : at_scale(1);
  if (keeps) out = out * (norms_of(with, guidance.kept_norms) / norms_of(out, guidance.kept_norms));
  if (guidance.rescale <= 0) return out;
  return guidance.rescale * (deviation(with) / deviation(out)) * out + (1 - guidance.rescale) * out;
}

}  // namespace

Denoise denoiser(Network network, Prediction prediction, const std::optional<Guidance>& guidance) {
  return [network = std::move(network), prediction, guidance](const at::Tensor& x, const Node& at) {
    // Networks of a flow see x itself. The others are trained on variance-preserving noise: x / sqrt(alpha^2 + sigma^2)
    // is that, at the same ratio.
    const double scale = prediction == Prediction::flow ? 1 : std::hypot(at.alpha, at.sigma);
    const double alpha = at.alpha / scale, sigma = at.sigma / scale;
    const at::Tensor input = std::abs(scale - 1) < 1e-6 ? x : x / scale;
    at::Tensor out;
    if (guidance) {
      const std::vector<at::Tensor> inputs(1 + guidance->weights.size(), input);
      out = guide(network(at::cat(inputs), at.t).chunk(std::int64_t(inputs.size())), *guidance);
    } else {
      out = network(input, at.t);
    }
    switch (prediction) {
      case Prediction::epsilon:
        return (input - sigma * out) / alpha;
      case Prediction::v:
        return alpha * input - sigma * out;
      case Prediction::sample:
        return out;
      case Prediction::flow:
        return input - sigma * out;
    }
    TORCH_CHECK(false, "unknown prediction type");
  };
}

}  // namespace sdgen
