// Flow models: x = (1 - sigma) * x0 + sigma * noise, so that noise - x0, which the network says, is how x moves with
// sigma (Lipman et al., 2023; Liu et al., 2023).
#include <algorithm>

#include "diffusion/grids.h"
#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

namespace {

// numpy.linspace, to the bit: what is cut off to a whole timestep must not differ.
std::vector<double> line(double from, double to, int count) {
  std::vector<double> points;
  for (int i = 0; i < count; ++i)
    points.push_back(count > 1 && i + 1 == count ? to : i * ((to - from) / std::max(count - 1, 1)) + from);
  return points;
}

// FLUX.2's mu (Black Forest Labs' sampling.py): lines that were fitted for runs of 10 and of 200 steps, and between and
// beyond them one through both; of large pictures that of 200.
double empirical_mu(std::int64_t tokens, int steps) {
  const double n = double(tokens), of_200 = 0.00016927 * n + 0.45666666;
  if (tokens > 4300) return of_200;
  const double of_10 = 8.73809524e-05 * n + 1.89833333, slope = (of_200 - of_10) / 190.0;
  return slope * steps + (of_200 - 200.0 * slope);
}

// By what noise levels move towards 1: a number, or one that grows with the picture's size (Esser et al., 2024, section
// 5.3.2; its mu as diffusers' pipelines have it).
double shift_of(const FlowConfig& flow, const GridWish& wish) {
  if (!flow.dynamic) return flow.shift;
  const double slope = (flow.max_shift - flow.base_shift) / double(flow.max_tokens - flow.base_tokens);
  const double mu = wish.empirical_shift
                        ? empirical_mu(wish.tokens, wish.steps)
                        : double(wish.tokens) * slope + (flow.base_shift - slope * double(flow.base_tokens));
  return flow.linear ? mu : std::exp(mu);
}

// Esser et al., 2024, equation 23.
double shifted(double sigma, double shift) { return shift * sigma / (1 + (shift - 1) * sigma); }

// Shifts the levels, and stretches them so that the last is shift_terminal.
void shift(std::vector<double>& sigmas, const SchedulerConfig& c, const GridWish& wish) {
  const double by = shift_of(c.flow, wish), terminal = c.flow.terminal;
  for (double& sigma : sigmas) sigma = shifted(sigma, by);
  const double rest = 1 - sigmas.back();
  if (terminal > 0 && rest == 0)
    too_many(
        wish.steps, c,
        concat("it begins at noise level 1, and would end there at shift_terminal ", terminal, "; take 2 or more"));
  for (double& sigma : sigmas) {
    if (terminal > 0) sigma = 1 - (1 - sigma) / (rest / (1 - terminal));
    if (!(sigma >= 0 && sigma <= 1 + 1e-9))  // a shift far below 1 rounds 1 up
      throw Error(Fault::input, concat(c.who, ": shifted by ", by, " a noise level becomes ", sigma,
                                       ", outside 0..1: check base_shift, max_shift, time_shift_type"));
  }
}

}  // namespace

// From pure noise to x0 in even levels, shifted: twice where the class chooses them and the shift is a number, since
// its smallest level is shifted already (diffusers issue 13243). Turned around (invert_sigmas), the network says
// x0 - noise: that is the same flow from noise of the other sign.
Grid flow_grid(const SchedulerConfig& c, const GridWish& wish) {
  const double total = c.train_steps, once = c.flow.dynamic ? 1 : c.flow.shift;
  std::vector<double> sigmas;
  if (wish.even_sigmas) {
    sigmas = line(1, 1.0 / wish.steps, wish.steps);
  } else {
    sigmas = line(shifted(1, once) * total, shifted(1 / total, once) * total, wish.steps);
    for (double& sigma : sigmas) sigma /= total;
  }
  shift(sigmas, c, wish);
  if (c.sigmas != SigmaSchedule::standard)
    sigmas = scheduled_sigmas(c.sigmas, sigmas.front(), sigmas.back(), wish.steps);
  sigmas.push_back(0);
  const auto node = [&](std::size_t i) -> Node {
    const float sigma = static_cast<float>(sigmas[i]), shown = c.flow.inverted ? 1 - sigma : sigma;
    return {shown * static_cast<float>(total), 1 - double(sigma), c.flow.inverted ? -sigma : sigma};
  };
  Grid grid;
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) grid.steps.push_back({node(i), node(i + 1)});
  return grid;
}

// Levels whose half log signal-to-noise ratio is finite: from just below 1, whole timesteps.
Grid flow_solver_grid(const SchedulerConfig& c, const GridWish& wish) {
  const double total = c.train_steps, nearly = 1e-6;
  std::vector<double> sigmas = line(1, 1 / total, wish.steps + 1);
  if (!c.type->flow_from_noise) {
    for (double& sigma : sigmas) sigma = 1 - sigma;
    std::ranges::reverse(sigmas);
  }
  sigmas.pop_back();
  shift(sigmas, c, wish);
  if (std::abs(sigmas[0] - 1) < nearly && c.type->flow_from_noise) sigmas[0] -= nearly;
  if (c.sigmas == SigmaSchedule::karras) {  // of the ratios that betas give
    const NoiseSchedule schedule(c);
    Points points;
    reschedule(points, c, schedule, wish.steps, schedule.sigma(schedule.size() - 1), schedule.sigma(0));
    sigmas = points.sigma;
    for (double& sigma : sigmas) sigma = sigma / (sigma + 1);
  }
  std::vector<double> times;
  for (double sigma : sigmas) times.push_back(std::trunc(sigma * total));
  if (times.size() > 1 && times[1] >= times[0])  // diffusers loses its place, as in dpm_solver_grid
    too_many(wish.steps, c, concat("timestep ", times[1], " would come twice; take fewer"));
  sigmas.push_back(c.final_sigma_zero ? 0 : c.type->ends_in_table ? NoiseSchedule(c).sigma(0) : sigmas.back());
  const auto node = [&](std::size_t i) -> Node {
    const double sigma = static_cast<float>(sigmas[i]);
    if (sigma >= 1)
      throw Error(Fault::input, concat(c.who, ": shifted by ", shift_of(c.flow, wish),
                                       " nothing is left of the picture at the first step, and ", c.type->name,
                                       " divides by it: check flow_shift, base_shift, max_shift"));
    return {i < times.size() ? times[i] : 0, 1 - sigma, sigma};
  };
  Grid grid;
  for (std::size_t i = 0; i < times.size(); ++i) grid.steps.push_back({node(i), node(i + 1)});
  return grid;
}

// Euler's method (Lipman et al., 2023).
Sampler flow_euler(const SchedulerConfig& config) {
  if (config.flow.stochastic) return flow_lcm(config);
  return [](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise&) {
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      x = x + (b.sigma - a.sigma) / a.sigma * (x - denoise(x, a));
    }
    return x;
  };
}

// Multistep consistency sampling (Luo et al., 2023, algorithm 3): new noise after every answer, drawn also for the
// last.
Sampler flow_lcm(const SchedulerConfig&) {
  return [](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise& noise) {
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      x = b.alpha * denoise(x, a) + b.sigma * noise();
    }
    return x;
  };
}

}  // namespace sdgen
