// The samplers and their grids: functions over nodes whose history is local variables. Papers and equations are at the
// definitions; each row of the table declares its own here.
#pragma once

#include "diffusion/noise_schedule.h"

namespace sdgen {

using MakeSampler = Sampler(const SchedulerConfig& config);
// Which nodes a run of N steps visits. Throws Error(usage) when `steps` cannot be spread over the schedule's timesteps.
using MakeGrid = Grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);

#define SCHEDULER_CLASS(...)
#define SCHEDULER(grid, sampler, ...) \
  MakeGrid grid;                      \
  MakeSampler sampler;
#include "schedulers/rows.inc"
#undef SCHEDULER
#undef SCHEDULER_CLASS

}  // namespace sdgen
