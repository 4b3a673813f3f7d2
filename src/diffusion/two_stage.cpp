// Samplers with two entries of the grid a step, over nodes whose x moves with sigma by (x - x0) / sigma:
// variance-exploding ones, and those of a flow.
#include <ATen/ops/roll.h>
#include <ATen/ops/tensor.h>

#include "diffusion/grids.h"
#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

namespace {

// Two entries a step: to a trial node and, with what is found there, from the start again.
Sampler two_stage(const SchedulerConfig& config, bool trapezoid, bool ancestral) {
  return [=](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise& noise) {
    Tensor start, slope;
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      const Tensor e = (x - limited(denoise(x, a), config)) / a.sigma;
      if ((i - span.begin) % 2 == 0) {
        start = x, slope = e;
        x = x + (b.sigma - a.sigma) * e;
        continue;
      }
      const double from = span.grid[i - 1].from.sigma, down = ancestral ? via.sigma : b.sigma;
      x = start + (down - from) * (trapezoid ? (slope + e) / 2 : e);
      if (ancestral) x = x + std::sqrt(square(b.sigma) - square(down)) * noise();
    }
    return x;
  };
}

Grid two_stage_dpm2(const SchedulerConfig& c, int steps, bool ancestral) {
  const NoiseSchedule schedule(c);
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

// Entries 2k: from node k to k+1; 2k+1: at node k+1.
Grid in_pairs(const Grid& single) {
  Grid grid{{}, single.start_scale};
  for (const Step& step : single.steps) {
    grid.steps.push_back(step);
    if (grid.steps.size() + 1 < 2 * single.steps.size()) grid.steps.push_back({step.to, step.to});
  }
  return grid;
}

}  // namespace

Grid heun_grid(const SchedulerConfig& config, const GridWish& wish) { return in_pairs(euler_grid(config, wish)); }
Grid flow_heun_grid(const SchedulerConfig& config, const GridWish& wish) { return in_pairs(flow_grid(config, wish)); }

// Heun's method, the trapezoid rule (Karras et al., 2022, algorithm 1), clean into sigma 0.
Sampler heun(const SchedulerConfig& config) { return two_stage(config, true, false); }

// Entries 2k: from node k to the midpoint; 2k+1: from there to node k+1, whose deterministic part ends at `via`.
Grid dpm2_grid(const SchedulerConfig& config, const GridWish& wish) {
  return two_stage_dpm2(config, wish.steps, false);
}

Grid dpm2_ancestral_grid(const SchedulerConfig& config, const GridWish& wish) {
  return two_stage_dpm2(config, wish.steps, true);
}

// DPM-Solver-2, the midpoint rule in log sigma (Lu et al., 2022, algorithm 1), as k-diffusion's sample_dpm_2 has it;
// and its ancestral form.
Sampler dpm2(const SchedulerConfig& config) { return two_stage(config, false, false); }
Sampler dpm2_ancestral(const SchedulerConfig& config) { return two_stage(config, false, true); }

}  // namespace sdgen
