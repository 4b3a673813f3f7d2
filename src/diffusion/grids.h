// Which nodes a run of N steps visits, by the conventions of the diffusers classes (0.42.1).
#pragma once

#include "diffusion/noise_schedule.h"

namespace sdgen {

// Each throws Error(usage) when `steps` cannot be spread over the schedule's timesteps.
using MakeGrid = Grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps);

MakeGrid ddpm_grid;  // on to the next timestep
MakeGrid ddim_grid;  // on to t - floor(T/N)
// As DDIM's. plms: the second entry comes twice, and `via` is t + floor(T/N), where the second call's step begins.
// pndm: twelve Runge-Kutta entries come first, and their `via` is half a step below t.
MakeGrid pndm_grid;
MakeGrid euler_grid;  // variance-exploding, as the next two
MakeGrid heun_grid;   // entries 2k: from node k to k+1; 2k+1: at node k+1
// Entries 2k: from node k to the midpoint; 2k+1: from there to node k+1, whose deterministic part ends at `via`.
MakeGrid dpm2_grid, dpm2_ancestral_grid;
MakeGrid dpm_solver_grid;  // variance-preserving nodes at given sigma / alpha
MakeGrid lcm_grid;         // a subset of the steps that the network was distilled on
MakeGrid tcd_grid;         // the same; `via` is where its deterministic part ends

}  // namespace sdgen
