// How much noise each of the training timesteps has.
#pragma once

#include <vector>

#include "diffusion/scheduler_config.h"

namespace sdgen {

class NoiseSchedule {
 public:
  // linear, scaled_linear, squaredcos_cap_v2, sigmoid (DDPM's class) or trained_betas, computed in float32 as diffusers
  // does and widened afterwards. Throws Error(input) for other names and impossible betas.
  explicit NoiseSchedule(const SchedulerConfig& config);

  int size() const { return static_cast<int>(alphas_cumprod_.size()); }
  // Variance-preserving node of a training timestep 0..size()-1.
  Node node(int t) const;
  // sigma / alpha of a training timestep; between timesteps linearly interpolated in sigma, clamped at both ends.
  double sigma(double t) const;

 private:
  std::vector<double> alphas_cumprod_;  // alpha^2 of every timestep
};

}  // namespace sdgen
