// Samplers that look at one answer of the network at a time: DDPM, DDIM, Euler's method and its ancestral form.
#include "diffusion/grids.h"
#include "diffusion/sampling.h"
#include "sdgen/error.h"

namespace sdgen {

using at::Tensor;

// On to the next timestep.
Grid ddpm_grid(const SchedulerConfig& config, const GridWish& wish) {
  const NoiseSchedule schedule(config);
  const std::vector<int> t = whole_timesteps(config, schedule, wish.steps);
  Grid grid;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const int next = i + 1 < t.size() ? t[i + 1] : -1;
    grid.steps.push_back({schedule.node(t[i]), next < 0 ? kClean : schedule.node(next)});
  }
  return grid;
}

// Ancestral sampling from the posterior (Ho et al., 2020, equations 6 and 7, algorithm 2).
Sampler ddpm(const SchedulerConfig& config) {
  const std::string& type = config.variance_type;
  // null (as DPM-Solver's configs have it) is fixed_small to diffusers too: none of its branches changes the variance.
  if (!type.empty() && type != "fixed_small" && type != "fixed_small_log" && type != "fixed_large")
    throw Error(Fault::input, concat(config.who, ": variance_type '", type,
                                     "' is not supported (fixed_small, fixed_small_log, fixed_large are)"));
  return [config, large = type == "fixed_large"](const Denoise& denoise, const GridSpan& span, Tensor x,
                                                 const Noise& noise) {
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      const Tensor x0 = limited(denoise(x, a), config);
      const double alpha = square(a.alpha / b.alpha), beta = 1 - alpha;  // of this step alone
      const double before = square(b.sigma) / square(a.sigma);
      x = b.alpha * beta / square(a.sigma) * x0 + std::sqrt(alpha) * before * x;
      if (a.t > 0) x = x + std::sqrt(large ? beta : std::max(before * beta, 1e-20)) * noise();
    }
    return x;
  };
}

// On to t - floor(T/N).
Grid ddim_grid(const SchedulerConfig& config, const GridWish& wish) {
  const NoiseSchedule schedule(config);
  Grid grid;
  for (int t : whole_timesteps(config, schedule, wish.steps))
    grid.steps.push_back({schedule.node(t), end_of_step(config, schedule, t - config.train_steps / wish.steps)});
  return grid;
}

namespace {

Sampler ddim_with(const SchedulerConfig& config, double eta) {
  return [config, eta](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise& noise) {
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      const Tensor x0 = denoise(x, a), e = noise_in(x, x0, a);  // e belongs to the x0 before clipping
      const double ratio = a.alpha / b.alpha * b.sigma / a.sigma;
      const double deviation = eta * b.sigma * std::sqrt(std::max(0.0, 1 - square(ratio)));
      x = b.alpha * limited(x0, config) + std::sqrt(std::max(0.0, square(b.sigma) - square(deviation))) * e;
      if (eta > 0) x = x + deviation * noise();
    }
    return x;
  };
}

}  // namespace

// DDIM with noise share config.eta (Song et al., 2021, equations 12 and 16).
Sampler ddim(const SchedulerConfig& config) { return ddim_with(config, config.eta); }

// Variance-exploding nodes.
Grid euler_grid(const SchedulerConfig& config, const GridWish& wish) {
  const NoiseSchedule schedule(config);
  const auto [t, sigma] = k_points(config, schedule, wish.steps);
  Grid grid{{}, start_scale(config, {t, sigma})};
  for (std::size_t i = 0; i < t.size(); ++i)
    grid.steps.push_back({{t[i], 1, sigma[i]}, {i + 1 < t.size() ? t[i + 1] : 0, 1, sigma[i + 1]}});
  return grid;
}

// The same formula over them: Euler's method (Karras et al., 2022, algorithm 1 without its second-order correction),
// and with eta 1 ancestral Euler (k-diffusion's sample_euler_ancestral).
Sampler euler(const SchedulerConfig& config) { return ddim_with(config, 0); }
Sampler euler_ancestral(const SchedulerConfig& config) { return ddim_with(config, 1); }

}  // namespace sdgen
