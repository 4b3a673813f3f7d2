// DPM-Solver and DPM-Solver++, in all their forms.
#include <algorithm>

#include "diffusion/grids.h"
#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

// Variance-preserving nodes at given sigma / alpha; or those of a flow.
Grid dpm_solver_grid(const SchedulerConfig& config, const GridWish& wish) {
  if (config.prediction == Prediction::flow) return flow_solver_grid(config, wish);
  const NoiseSchedule schedule(config);
  const int steps = wish.steps;
  // Timesteps whose log signal-to-noise ratio is below the bound are left out (for the cosine schedule).
  int last = config.train_steps;
  while (last > 0 && -std::log(schedule.sigma(last - 1)) < config.lambda_min_clipped) --last;
  if (last == 0) too_many(steps, config, "lambda_min_clipped leaves no timestep");
  Points points{spaced(config, steps, last, 1, true), {}};
  for (double t : points.t) points.sigma.push_back(schedule.sigma(t));
  reschedule(points, config, schedule, steps, schedule.sigma(schedule.size() - 1), schedule.sigma(0));
  const SigmaSchedule kind = config.sigmas;
  const bool cosine = config.beta_schedule == "squaredcos_cap_v2" && config.type->has("use_lu_lambdas");
  for (double& t : points.t)
    t = !cosine && (kind == SigmaSchedule::karras || kind == SigmaSchedule::lu) ? round_even(t) : std::trunc(t);
  // diffusers looks for its place by the first timestep, takes the second of two, and runs past the end.
  for (std::size_t i = 1;
       i < (kind == SigmaSchedule::standard ? points.t.size() : std::min<std::size_t>(2, points.t.size())); ++i)
    if (points.t[i] >= points.t[i - 1])
      too_many(steps, config, concat("timestep ", points.t[i], " would come twice; take fewer"));

  const bool in_table = config.type->ends_in_table || kind == SigmaSchedule::standard;
  points.sigma.push_back(config.final_sigma_zero ? 0 : in_table ? schedule.sigma(0) : points.sigma.back());
  const auto node = [&points](std::size_t i) {
    const double ratio = static_cast<float>(points.sigma[i]), alpha = 1 / std::hypot(1, ratio);
    return Node{i < points.t.size() ? points.t[i] : 0, alpha, ratio * alpha};
  };
  Grid grid;
  for (std::size_t i = 0; i < points.t.size(); ++i) grid.steps.push_back({node(i), node(i + 1)});
  return grid;
}

namespace {

// One step of DPM-Solver with `order` answers, newest first, from where the newest was found; singlestep: from where
// the oldest was.
Tensor dpm_step(const Exponential& to, const Tensor& start, const std::deque<Answer>& past, std::size_t order,
                bool single, bool heun, bool stochastic) {
  const double phi1 = to.phi1(), phi2 = phi1 / to.hh - 1;
  const Tensor x = to.keep * start - to.gain * phi1 * past[single ? order - 1 : 0].value;
  if (order == 1) return x;
  // The slope and the curvature over h of the answers, by divided differences.
  const auto slope = [&](std::size_t k, std::size_t j) {
    return (past[k].value - past[j].value) * (to.h / (past[k].lambda - past[j].lambda));
  };
  if (order == 2) return x - to.gain * (heun ? phi2 : phi1 / 2) * slope(0, 1);
  if (single && !heun) return x - to.gain * phi2 * slope(0, 2);
  const Tensor curve = (slope(0, 1) - slope(1, 2)) * (to.h / (past[0].lambda - past[2].lambda));
  const double behind = (past[0].lambda - past[1].lambda) / to.h;  // from the newest to the one before
  const double ahead = (past[1].lambda - past[2].lambda) / to.h;   // from the oldest to that one
  // diffusers has + 1/2 in its stochastic forms.
  const double phi3 = (phi1 - to.hh) / square(to.hh) + (stochastic ? 0.5 : -0.5);
  return x - to.gain * phi2 * (single ? slope(1, 2) - ahead * curve : slope(0, 1) + behind * curve) -
         to.gain * phi3 * (single ? 2 * curve : curve);
}

Sampler dpm_solver(const SchedulerConfig& config, bool single) {
  const bool data = config.algorithm_type.ends_with("++"), stochastic = config.algorithm_type.starts_with("sde-");
  return [=](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise& noise) {
    const std::size_t most = std::min(config.solver_order, 3), size = span.grid.size();
    // Singlestep: orders 1, 2, 3, 1, 2, 3, ..., and 1 at the end where that is asked for, or sigma 0.
    const auto single_order = [&](std::size_t i) {
      const bool low = config.final_sigma_zero || (config.lower_order_final && size % most == 0);
      return low && i + 1 == size ? 1 : i % most + 1;
    };
    std::deque<Answer> past;
    Tensor start;
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      const Tensor x0 = limited(denoise(x, a), config);
      remember(past, {data ? x0 : noise_in(x, x0, a), half_log_snr(a)}, most);
      const bool last = i + 1 == size && (config.euler_at_final || config.final_sigma_zero);
      const std::size_t order = single ? std::min(single_order(i), past.size())
                                       : warm_order(span, i, last ? 1 : most, config.lower_order_final);
      if (!single || order == 1) start = x;
      const Exponential to(span.grid[single ? i + 1 - order : i].from, b, data, stochastic);
      x = dpm_step(to, start, past, order, single, config.solver_type == "heun", stochastic);
      if (stochastic) x = x + to.deviation * noise();
    }
    return x;
  };
}

}  // namespace

// DPM-Solver++ multistep of order 1 to 3 (Lu et al., 2022b, algorithm 2 and appendix); DPM-Solver, and the stochastic
// forms of both (ibid., appendix), as config.algorithm_type says. The third-order formulas,
// as diffusers has them, lack a factor 2 in the curvature and converge with order 2.
Sampler dpm_solver_multistep(const SchedulerConfig& config) { return dpm_solver(config, false); }

// Their singlestep forms (ibid., algorithm 1): every `order` steps share a base.
Sampler dpm_solver_singlestep(const SchedulerConfig& config) { return dpm_solver(config, true); }

}  // namespace sdgen
