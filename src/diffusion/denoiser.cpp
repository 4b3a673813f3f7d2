#include "diffusion/denoiser.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/std.h>

#include <cmath>

namespace sdgen {
namespace {

// Of each picture, [B, 1, 1, 1].
at::Tensor deviation(const at::Tensor& x) {
  return at::std(x, at::OptionalIntArrayRef({1, 2, 3}), std::optional<at::Scalar>(1), /*keepdim=*/true);
}

}  // namespace

Denoise denoiser(Network network, Prediction prediction, std::optional<Guidance> guidance) {
  return [network = std::move(network), prediction, guidance](const at::Tensor& x, const Node& at) {
    // Networks are trained on variance-preserving noise: x / sqrt(alpha^2 + sigma^2) is that, at the same ratio.
    const double scale = std::hypot(at.alpha, at.sigma), alpha = at.alpha / scale, sigma = at.sigma / scale;
    const at::Tensor input = std::abs(scale - 1) < 1e-6 ? x : x / scale;
    at::Tensor out;
    if (guidance) {
      const auto halves = network(at::cat({input, input}), at.t).chunk(2);
      out = halves[0] + guidance->scale * (halves[1] - halves[0]);
      if (guidance->rescale > 0)
        out = guidance->rescale * (deviation(halves[1]) / deviation(out)) * out + (1 - guidance->rescale) * out;
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
    }
    TORCH_CHECK(false, "unknown prediction type");
  };
}

}  // namespace sdgen
