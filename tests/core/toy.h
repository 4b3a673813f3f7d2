// Whole trajectories of a scheduler on a network that fits in one line (tests/fixtures/README.md).
#pragma once

#include <ATen/ops/cos.h>
#include <ATen/ops/tanh.h>

#include "diffusion/denoiser.h"
#include "diffusion/noise.h"
#include "diffusion/schedulers.h"

namespace sdgen::toy {

inline at::Tensor network(const at::Tensor& x, double t) {
  return 0.9 * at::tanh(1.5 * x + 0.002 * t - 1) + 0.25 * at::cos(2 * x);
}

struct Trajectory {
  std::vector<double> timesteps;    // timestep of every network call
  std::vector<at::Tensor> latents;  // at every network call, and the last
  int draws = 0;
  double start_scale = 0;
};

// What tests/fixtures/README.md calls a case, as the constructor of the diffusers class would get it: nothing forced.
inline Scheduler scheduler_of(const Json& c) {
  Json config = c.at("config");
  std::optional<std::string> name;
  if (c.contains("scheduler")) name = c.at("scheduler").get<std::string>();
  config["_class_name"] = c.at("class");
  Scheduler s = Scheduler::choose(Config(config, "scheduler_config.json"), {name, {}, {}, {}, {}, {}});
  if (config.contains("steps_offset") && s.has("steps_offset")) s.config.steps_offset = config.at("steps_offset");
  if (s.has("clip_sample"))
    s.config.clip_sample = config.value("clip_sample", s.config.keys.at("clip_sample").get<bool>());
  if (s.row->takes_eta()) s.config.eta = c.value("eta", 0.0);
  return s;
}

// Runs in float64. noise[0] makes the first latents, noise[1 + k] is the k-th draw. A case with "range" [begin, end]
// runs these entries, from the clean latents noise[1] / 2.
inline Trajectory run(const Scheduler& scheduler, const Json& c, const at::Tensor& noise) {
  Trajectory result;
  const Grid grid = scheduler.grid({c.at("steps").get<int>(), c.value("tokens", std::int64_t{0}),
                                    c.value("even_sigmas", false), c.value("empirical_shift", false)});
  GridSpan entries{grid.steps};
  at::Tensor x = noise[0] * grid.start_scale;
  if (c.contains("range")) {
    entries.begin = c.at("range")[0].get<std::size_t>(), entries.end = c.at("range")[1].get<std::size_t>();
    x = noised(noise[1] / 2, noise[0], grid.steps.at(entries.begin));
  }
  result.start_scale = grid.start_scale;
  const Denoise inner = denoiser(network, scheduler.config.prediction, std::nullopt);
  const Denoise denoise = [&](const at::Tensor& x, const Node& at) {
    result.timesteps.push_back(at.t);
    result.latents.push_back(x);
    return inner(x, at);
  };
  const Noise draw = [&] { return noise[1 + result.draws++]; };
  result.latents.push_back(scheduler.sampler()(denoise, entries, x, draw));
  return result;
}

}  // namespace sdgen::toy
