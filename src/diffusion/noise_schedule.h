// How much noise each of the training timesteps has.
#pragma once

#include <vector>

#include "diffusion/scheduler_config.h"

namespace sdgen {

class NoiseSchedule {
 public:
  // linear, scaled_linear, squaredcos_cap_v2, for some classes sigmoid, laplace or exp, or trained_betas; computed in
  // float32 as diffusers does and widened afterwards. Throws Error(input) for other names and impossible betas.
  explicit NoiseSchedule(const SchedulerConfig& config);

  int size() const { return static_cast<int>(alphas_cumprod_.size()); }
  // Variance-preserving node of a training timestep; -1 is the last one, as for Python's index (see grids.cpp).
  Node node(int t) const;
  // sigma / alpha of a training timestep; between timesteps linearly interpolated in sigma, clamped at both ends.
  double sigma(double t) const;
  // The timestep that has this sigma / alpha, interpolated in its logarithm, clamped at both ends.
  double time(double sigma) const;

 private:
  std::vector<float> alphas_cumprod_, sigmas_, log_sigmas_;  // alpha^2, sigma / alpha, its logarithm
};

}  // namespace sdgen
