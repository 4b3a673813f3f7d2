#include "diffusion/denoiser.h"

#include <ATen/ops/cat.h>

#include <cmath>

namespace sdgen {

Denoise denoiser(Network network, Prediction prediction, std::optional<double> guidance_scale) {
  return [network = std::move(network), prediction, guidance_scale](const at::Tensor& x, const Node& at) {
    // Networks are trained on variance-preserving noise: x / sqrt(alpha^2 + sigma^2) is that, at the same ratio.
    const double scale = std::hypot(at.alpha, at.sigma), alpha = at.alpha / scale, sigma = at.sigma / scale;
    const at::Tensor input = std::abs(scale - 1) < 1e-6 ? x : x / scale;
    at::Tensor out;
    if (guidance_scale) {
      const auto halves = network(at::cat({input, input}), at.t).chunk(2);
      out = halves[0] + *guidance_scale * (halves[1] - halves[0]);
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
