// Which nodes a run of N steps visits, by the conventions of the diffusers classes (0.42.1).
#pragma once

#include "diffusion/noise_schedule.h"

namespace sdgen {

// Each throws Error(usage) when `steps` cannot be spread over the schedule's timesteps.
Grid ddpm_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);  // on to the next timestep
Grid ddim_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);  // on to t - floor(T/N)
// As DDIM's, with the second step taken twice: steps[1] re-does steps[0] with what is found at its end.
Grid plms_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);
Grid euler_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);  // variance-exploding
Grid dpm_solver_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);

}  // namespace sdgen
