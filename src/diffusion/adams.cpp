// Multistep methods whose polynomials are integrated exactly.
#include <algorithm>

#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

namespace {

// The integral over rho = sigma / alpha from `a` to `b` of the Lagrange polynomial that is 1 at nodes[k] and 0 at the
// others, in rho or in its logarithm: 8-point Gauss-Legendre quadrature of each quarter.
double lagrange_integral(const std::vector<double>& nodes, std::size_t k, double a, double b, bool logarithmic) {
  constexpr double quadrature[][2] = {{0.1834346424956498, 0.3626837833783620},
                                      {0.5255324099163290, 0.3137066458778873},
                                      {0.7966664774136267, 0.2223810344533745},
                                      {0.9602898564975363, 0.1012285362903763}};
  double sum = 0;
  const double half = (b - a) / 8;
  for (double middle : {a + half, a + 3 * half, a + 5 * half, a + 7 * half}) {
    for (const auto& [place, weight] : quadrature) {
      for (double u : {middle - place * half, middle + place * half}) {
        double value = logarithmic ? std::exp(u) : 1;
        for (std::size_t j = 0; j < nodes.size(); ++j)
          if (j != k) value *= (u - nodes[j]) / (nodes[k] - nodes[j]);
        sum += weight * half * value;
      }
    }
  }
  return sum;
}

// x / alpha moves along rho with the noise as its slope: the last `order` noises, interpolated and integrated.
Sampler adams_bashforth(const SchedulerConfig& config, bool logarithmic,
                        std::size_t (*order_at)(const SchedulerConfig&, const GridSpan&, std::size_t)) {
  return [=](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise&) {
    const auto place = [=](const Node& n) { return logarithmic ? -half_log_snr(n) : n.sigma / n.alpha; };
    std::deque<Tensor> past;
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      remember(past, noise_in(x, limited(denoise(x, a), config), a), 4);
      std::vector<double> nodes;
      for (std::size_t k = 0; k < order_at(config, span, i); ++k) nodes.push_back(place(span.grid[i - k].from));
      x = x / a.alpha;
      for (std::size_t k = 0; k < std::min(nodes.size(), past.size()); ++k)
        x = x + lagrange_integral(nodes, k, place(a), place(b), logarithmic) * past[k];
      x = b.alpha * x;
    }
    return x;
  };
}

}  // namespace

// Linear multistep of order 4 in sigma (k-diffusion's sample_lms).
Sampler lms(const SchedulerConfig& config) {
  // diffusers counts the order over the whole grid: a run that begins later lacks the first noises.
  const auto order = [](const SchedulerConfig&, const GridSpan&, std::size_t i) {
    return std::min<std::size_t>(i + 1, 4);
  };
  return adams_bashforth(config, false, order);
}

// DEIS of order 1 to 3 (Zhang & Chen, 2023, equation 15, in the logarithm of rho = sigma / alpha).
Sampler deis(const SchedulerConfig& config) {
  return adams_bashforth(config, true, [](const SchedulerConfig& c, const GridSpan& span, std::size_t i) {
    return warm_order(span, i, std::min(c.solver_order, 3), c.lower_order_final);
  });
}

}  // namespace sdgen
