// The samplers and their grids: functions over nodes whose history is local variables. Papers and equations are at the
// definitions; each row of the table declares its own here.
#pragma once

#include "diffusion/scheduler_config.h"

namespace sdgen {

using MakeSampler = Sampler(const SchedulerConfig& config);

// What a grid is for.
struct GridWish {
  int steps;
  std::int64_t tokens = 0;   // of the picture, as its network counts them: the more, the longer flows stay noisy
  bool even_sigmas = false;  // of a flow: the pipeline says 1 to 1/N itself (Flux's), and the class only shifts them
  bool empirical_shift = false;  // of a flow whose shift is dynamic: FLUX.2's, which knows the number of steps too
};

// Which nodes a run visits. Throws Error(usage) when that many steps cannot be spread over the schedule's timesteps.
using MakeGrid = Grid(const SchedulerConfig& config, const GridWish& wish);

#define SCHEDULER_CLASS(...)
#define SCHEDULER(grid, sampler, ...) \
  MakeGrid grid;                      \
  MakeSampler sampler;
#include "schedulers/rows.inc"
#undef SCHEDULER
#undef SCHEDULER_CLASS

}  // namespace sdgen
