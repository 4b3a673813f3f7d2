// Samplers for networks that were distilled to few steps, of which they take a subset.
#include "diffusion/grids.h"
#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

namespace {

std::vector<int> distilled_timesteps(const SchedulerConfig& c, int steps) {
  const int original = c.original_inference_steps, kept = static_cast<int>(original * c.strength);
  if (steps > original) too_many(steps, c, concat("at most original_inference_steps, ", original));
  if (steps > kept) too_many(steps, c, concat("at most strength times original_inference_steps, ", kept));
  std::vector<int> timesteps;
  for (int i = 0; i < steps; ++i) {
    const int index = static_cast<int>(i * (static_cast<double>(kept) / steps));
    timesteps.push_back((kept - index) * (c.train_steps / original) - 1);
  }
  return timesteps;
}

}  // namespace

Grid lcm_grid(const SchedulerConfig& config, const GridWish& wish) {
  const NoiseSchedule schedule(config);
  const std::vector<int> t = distilled_timesteps(config, wish.steps);
  Grid grid;
  for (int i = 0; i < wish.steps; ++i)
    grid.steps.push_back({schedule.node(t[i]), i + 1 < wish.steps ? schedule.node(t[i + 1]) : kClean});
  return grid;
}

// Latent consistency sampling (Luo et al., 2023, algorithm 3).
Sampler lcm(const SchedulerConfig& config) {
  return [config](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise& noise) {
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      // The boundary condition (equation 9): at timestep 0 the function is the identity.
      const double t = a.t * config.timestep_scaling, data = 0.5, skip = square(data) / (square(t) + square(data));
      const Tensor x0 = limited(denoise(x, a), config);
      x = t / std::hypot(t, data) * x0 + skip * x;
      if (i + 1 < span.grid.size()) x = b.alpha * x + b.sigma * noise();
    }
    return x;
  };
}

// `via` is where its deterministic part ends.
Grid tcd_grid(const SchedulerConfig& config, const GridWish& wish) {
  const NoiseSchedule schedule(config);
  const std::vector<int> t = distilled_timesteps(config, wish.steps);
  Grid grid;
  for (int i = 0; i < wish.steps; ++i) {
    const int next = i + 1 < wish.steps ? t[i + 1] : 0;
    const int between = static_cast<int>(static_cast<float>(1 - config.eta) * static_cast<float>(next));
    grid.steps.push_back({schedule.node(t[i]), schedule.node(next), schedule.node(between)});
  }
  return grid;
}

// Strategic stochastic sampling of trajectory consistency models (Zheng et al., 2024, algorithm 4), gamma = config.eta.
Sampler tcd(const SchedulerConfig& config) {
  return [eta = config.eta](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise& noise) {
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, s] = span.grid[i];
      const Tensor x0 = denoise(x, a);
      x = s.alpha * x0 + s.sigma * noise_in(x, x0, a);
      if (eta > 0 && i + 1 < span.grid.size())
        x = b.alpha / s.alpha * x + std::sqrt(1 - square(b.alpha / s.alpha)) * noise();
    }
    return x;
  };
}

}  // namespace sdgen
