#include "diffusion/grids.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// numpy's rounding: halves to even.
double round_even(double x) { return std::nearbyint(x); }

[[noreturn]] void too_many(int steps, const SchedulerConfig& config, const std::string& why) {
  throw Error(Fault::usage, concat(steps, " steps do not fit ", config.class_name, " with ", config.train_steps,
                                   " training timesteps and ", spacing_name(config.spacing), " spacing: ", why));
}

// The timesteps of a run over 0..total-1, descending. extra = 1: linspace and leading are laid for one more, and the
// last is dropped (the DPM-Solver classes).
std::vector<double> spaced(const SchedulerConfig& c, int steps, int total, int extra, bool rounded) {
  const int count = steps + extra;
  std::vector<double> points;
  if (c.spacing == Spacing::trailing) {
    // numpy.arange(total, 0, -T/N).round() - 1. Its step is rounded as numpy rounds it, and so is its length: for
    // some counts (61, 103, ...) there is one point more, timestep -1, and diffusers runs it.
    const double stride = static_cast<double>(c.train_steps) / steps, step = (total - stride) - total;
    points.resize(static_cast<std::size_t>(std::ceil(total / stride)));
    for (std::size_t i = 0; i < points.size(); ++i) points[i] = round_even(total + double(i) * step) - 1;
    return points;
  }
  if (c.spacing == Spacing::leading && total < count) too_many(steps, c, concat("at most ", total - extra));
  const double stride = c.spacing == Spacing::leading ? std::floor(double(total) / count)
                        : count > 1                   ? (total - 1.0) / (count - 1)
                                                      : 0;
  for (int i = count - 1; i >= extra; --i) {
    const double t = c.spacing == Spacing::linspace && i > 0 && i == count - 1 ? total - 1 : i * stride;
    points.push_back(c.spacing == Spacing::leading ? t + c.steps_offset : rounded ? round_even(t) : float(t));
  }
  return points;
}

// The timesteps of DDPM, DDIM and PNDM.
std::vector<int> whole_timesteps(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps) {
  if (steps > c.train_steps) too_many(steps, c, concat("at most ", c.train_steps));
  const std::vector<double> points = spaced(c, steps, c.train_steps, 0, true);
  if (points.front() >= schedule.size())
    too_many(steps, c, concat("with steps_offset ", c.steps_offset, " the first would be timestep ", points.front()));
  return {points.begin(), points.end()};
}

// x0 itself, where the last step ends.
constexpr Node kClean{0, 1, 0};

// Where a step ends that may go beyond the first timestep.
Node end(const SchedulerConfig& c, const NoiseSchedule& schedule, int t) {
  return t >= 0 ? schedule.node(t) : c.set_alpha_to_one ? kClean : schedule.node(0);
}

// The p-quantile of Beta(a, a), a = 0.6, by bisection of the power series of its distribution function.
double beta_quantile(double p) {
  constexpr double a = 0.6;
  if (p > 0.5) return 1 - beta_quantile(1 - p);
  const double whole = std::tgamma(a) * std::tgamma(a) / std::tgamma(2 * a);
  const auto share = [&](double x) {  // below x <= 1/2
    double sum = 0, term = 1;
    for (int n = 0; n < 60; term *= (n + 1 - a) / (n + 1) * x, ++n) sum += term / (a + n);
    return std::pow(x, a) * sum / whole;
  };
  double low = 0, high = 0.5;
  for (int i = 0; i < 100; ++i) (share((low + high) / 2) < p ? low : high) = (low + high) / 2;
  return p == 0 ? 0 : low;
}

// Times and sigma / alpha of the entries; sigma has one more, where the last entry ends.
struct Points {
  std::vector<double> t, sigma;
};

// Replaces the points by `steps` of the config's sigma schedule between the ends given, or those that the config gives.
void reschedule(Points& points, const SchedulerConfig& c, const NoiseSchedule& schedule, int steps, double largest,
                double smallest) {
  if (c.sigmas == SigmaSchedule::standard) return;
  const double high = c.sigma_max.value_or(largest), low = c.sigma_min.value_or(smallest);
  points = {};
  for (int i = 0; i < steps; ++i) {
    const double u = steps > 1 ? i / (steps - 1.0) : 0;
    double sigma = std::exp(std::log(high) + u * (std::log(low) - std::log(high)));  // exponential, lu
    if (c.sigmas == SigmaSchedule::karras)
      sigma = std::pow(std::pow(high, 1 / 7.0) + u * (std::pow(low, 1 / 7.0) - std::pow(high, 1 / 7.0)), 7);
    if (c.sigmas == SigmaSchedule::beta) sigma = low + beta_quantile(1 - u) * (high - low);
    points.sigma.push_back(sigma);
    points.t.push_back(schedule.time(sigma));
  }
}

// The nodes of the classes that come from k-diffusion.
Points k_points(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps) {
  Points points{spaced(c, steps, c.train_steps, 0, false), {}};
  for (double t : points.t) points.sigma.push_back(schedule.sigma(t));
  if (c.log_linear) {  // steps + 1 sigmas from end to end, whatever the timesteps
    const double high = std::log(schedule.sigma(schedule.size() - 1)), low = std::log(schedule.sigma(0));
    points.sigma.clear();
    for (int i = 0; i <= steps; ++i) points.sigma.push_back(std::exp(high + (low - high) * i / steps));
  }
  reschedule(points, c, schedule, steps, points.sigma.front(), points.sigma.back());
  points.sigma.push_back(c.final_sigma_zero ? 0 : schedule.sigma(0));
  for (double& sigma : points.sigma) sigma = static_cast<float>(sigma);
  if (c.continuous && c.prediction == Prediction::v)
    for (std::size_t i = 0; i < points.t.size(); ++i) points.t[i] = 0.25 * std::log(points.sigma[i]);
  return points;
}

double start_scale(const SchedulerConfig& c, const Points& points) {
  const double largest = *std::max_element(points.sigma.begin(), points.sigma.end());
  return c.spacing == Spacing::leading ? std::hypot(largest, 1) : largest;
}

Grid two_stage_dpm2(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps, bool ancestral) {
  Points points = k_points(c, schedule, steps);
  if (c.sigmas == SigmaSchedule::karras)
    for (double& t : points.t) t = round_even(t);
  // Ancestral: where the noise that is added later is taken off, b^2 / a. As diffusers computes it: the difference of
  // two squares in float32 shows in its nodes.
  const at::Tensor squares = at::tensor(points.sigma, at::kFloat).pow(2), to = squares.roll(-1);
  const at::Tensor downs = (to - (to * (squares - to) / squares).pow(0.5).pow(2)).pow(0.5);
  Grid grid{{}, start_scale(c, points)};
  for (std::size_t i = 0; i < points.t.size(); ++i) {
    const Node a{points.t[i], 1, points.sigma[i]};
    if (i + 1 == points.t.size()) {
      grid.steps.push_back({a, {0, 1, points.sigma[i + 1]}});
    } else {
      const Node b{points.t[i + 1], 1, points.sigma[i + 1]};
      const Node down{0, 1, ancestral ? downs[i].item<float>() : b.sigma};
      const double middle = static_cast<float>(std::sqrt(a.sigma * down.sigma));
      const Node between{schedule.time(middle), 1, middle};
      grid.steps.push_back({a, between});
      grid.steps.push_back({between, b, down});
    }
  }
  return grid;
}

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

Grid ddpm_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const std::vector<int> t = whole_timesteps(config, schedule, steps);
  Grid grid;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const int next = i + 1 < t.size() ? t[i + 1] : -1;
    grid.steps.push_back({schedule.node(t[i]), next < 0 ? kClean : schedule.node(next)});
  }
  return grid;
}

Grid ddim_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  Grid grid;
  for (int t : whole_timesteps(config, schedule, steps))
    grid.steps.push_back({schedule.node(t), end(config, schedule, t - config.train_steps / steps)});
  return grid;
}

Grid pndm_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const int stride = config.train_steps / steps, half = stride / 2;
  const std::vector<int> t = whole_timesteps(config, schedule, steps);
  std::vector<int> times = t;
  if (!config.skip_prk_steps) {
    if (steps < 4) too_many(steps, config, "at least 4 for the Runge-Kutta warm-up; plms has none");
    times.assign(t.begin() + 3, t.end());
    for (int i = 2; i >= 0; --i) times.insert(times.begin(), {t[i], t[i + 1] + half, t[i + 1] + half, t[i + 1]});
  } else if (steps > 1) {
    if (t[1] + stride >= schedule.size()) too_many(steps, config, concat("it would begin at ", t[1] + stride));
    times.insert(times.begin() + 1, t[1]);
  }
  Grid grid;
  for (int at : times)
    grid.steps.push_back({schedule.node(at), end(config, schedule, at - stride),
                          config.skip_prk_steps ? schedule.node(std::min(at + stride, schedule.size() - 1))
                                                : end(config, schedule, at - half)});
  return grid;
}

Grid euler_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const auto [t, sigma] = k_points(config, schedule, steps);
  Grid grid{{}, start_scale(config, {t, sigma})};
  for (std::size_t i = 0; i < t.size(); ++i)
    grid.steps.push_back({{t[i], 1, sigma[i]}, {i + 1 < t.size() ? t[i + 1] : 0, 1, sigma[i + 1]}});
  return grid;
}

Grid heun_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const Grid euler = euler_grid(config, schedule, steps);
  Grid grid{{}, euler.start_scale};
  for (const Step& step : euler.steps) {
    grid.steps.push_back(step);
    if (grid.steps.size() + 1 < 2 * euler.steps.size()) grid.steps.push_back({step.to, step.to});
  }
  return grid;
}

Grid dpm2_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  return two_stage_dpm2(config, schedule, steps, false);
}

Grid dpm2_ancestral_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  return two_stage_dpm2(config, schedule, steps, true);
}

Grid dpm_solver_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  // Timesteps whose log signal-to-noise ratio is below the bound are left out (for the cosine schedule).
  int last = config.train_steps;
  while (last > 0 && -std::log(schedule.sigma(last - 1)) < config.lambda_min_clipped) --last;
  if (last == 0) too_many(steps, config, "lambda_min_clipped leaves no timestep");
  Points points{spaced(config, steps, last, 1, true), {}};
  for (double t : points.t) points.sigma.push_back(schedule.sigma(t));
  reschedule(points, config, schedule, steps, schedule.sigma(schedule.size() - 1), schedule.sigma(0));
  const SigmaSchedule kind = config.sigmas;
  const bool cosine = config.beta_schedule == "squaredcos_cap_v2" && scheduler_has(config.class_name, "use_lu_lambdas");
  for (double& t : points.t)
    t = !cosine && (kind == SigmaSchedule::karras || kind == SigmaSchedule::lu) ? round_even(t) : std::trunc(t);
  // diffusers looks for its place by the first timestep, takes the second of two, and runs past the end.
  for (std::size_t i = 1;
       i < (kind == SigmaSchedule::standard ? points.t.size() : std::min<std::size_t>(2, points.t.size())); ++i)
    if (points.t[i] >= points.t[i - 1])
      too_many(steps, config, concat("timestep ", points.t[i], " would come twice; take fewer"));

  const bool dpm = config.class_name.starts_with("DPMSolver");
  points.sigma.push_back(config.final_sigma_zero                  ? 0
                         : dpm || kind == SigmaSchedule::standard ? schedule.sigma(0)
                                                                  : points.sigma.back());
  const auto node = [&points](std::size_t i) {
    const double ratio = static_cast<float>(points.sigma[i]), alpha = 1 / std::hypot(1, ratio);
    return Node{i < points.t.size() ? points.t[i] : 0, alpha, ratio * alpha};
  };
  Grid grid;
  for (std::size_t i = 0; i < points.t.size(); ++i) grid.steps.push_back({node(i), node(i + 1)});
  return grid;
}

Grid lcm_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const std::vector<int> t = distilled_timesteps(config, steps);
  Grid grid;
  for (int i = 0; i < steps; ++i)
    grid.steps.push_back({schedule.node(t[i]), i + 1 < steps ? schedule.node(t[i + 1]) : kClean});
  return grid;
}

Grid tcd_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const std::vector<int> t = distilled_timesteps(config, steps);
  Grid grid;
  for (int i = 0; i < steps; ++i) {
    const int next = i + 1 < steps ? t[i + 1] : 0;
    const int between = static_cast<int>(static_cast<float>(1 - config.eta) * static_cast<float>(next));
    grid.steps.push_back({schedule.node(t[i]), schedule.node(next), schedule.node(between)});
  }
  return grid;
}

}  // namespace sdgen
