// What samplers are made of.
#pragma once

#include <ATen/TensorOperators.h>

#include <cmath>
#include <deque>

#include "diffusion/samplers.h"

namespace sdgen {

inline double square(double x) { return x * x; }
inline double half_log_snr(const Node& n) { return std::log(n.alpha) - std::log(n.sigma); }  // lambda
inline at::Tensor noise_in(const at::Tensor& x, const at::Tensor& x0, const Node& at) {
  return (x - at.alpha * x0) / at.sigma;
}

// Newest first, at most `most` of them.
template <class T>
void remember(std::deque<T>& past, T value, std::size_t most) {
  past.push_front(std::move(value));
  if (past.size() > most) past.pop_back();
}

// What the config does to every predicted x0: nothing, clipping, or dynamic thresholding (Saharia et al., 2022,
// section 2.3).
at::Tensor limited(const at::Tensor& x0, const SchedulerConfig& config);

// The order of a multistep method that begins with 1 and, where `falls`, ends with 2, 1 in runs of less than 15 steps.
std::size_t warm_order(const GridSpan& span, std::size_t i, std::size_t order, bool falls);

// Exponential integrators (Lu et al., 2022, equation 3.4, and 2022b, equation 9) from `a` to `b` in lambda, over what
// the network says about x0 (data) or about the noise; stochastic: with the noise of the reverse SDE.
struct Exponential {
  double h, hh, keep, gain, deviation;  // x -> keep * x - gain * (expm1(hh) * D0 + ...) + deviation * noise

  Exponential(const Node& a, const Node& b, bool data, bool stochastic) : h(half_log_snr(b) - half_log_snr(a)) {
    hh = (data ? -h : h) * (data && stochastic ? 2 : 1);
    keep = data ? b.sigma / a.sigma * (stochastic ? std::exp(-h) : 1) : b.alpha / a.alpha;
    gain = data ? b.alpha : b.sigma * (stochastic ? 2 : 1);
    deviation = stochastic ? b.sigma * std::sqrt(data ? -std::expm1(-2 * h) : std::expm1(2 * h)) : 0;
  }
  double phi1() const { return std::expm1(hh); }
};

// What the network said, and where.
struct Answer {
  at::Tensor value;
  double lambda;
};

}  // namespace sdgen
