// The samplers: pure functions over nodes whose history is local variables.
#pragma once

#include "diffusion/scheduler_config.h"
#include "diffusion/types.h"

namespace sdgen {

// DDIM with noise share eta (Song et al., 2021, equations 12 and 16). Over variance-exploding nodes with eta 0 it is
// Euler's method (Karras et al., 2022, algorithm 1 without its second-order correction).
Sampler ddim(const SchedulerConfig& config, double eta);

// Ancestral sampling from the posterior (Ho et al., 2020, equations 6 and 7, algorithm 2).
Sampler ddpm(const SchedulerConfig& config);

// Pseudo linear multistep (Liu et al., 2022, "PNDM", equations 9 and 12): Adams-Bashforth on the network's output, a
// Heun-like first step. Expects plms_grid.
Sampler plms(const SchedulerConfig& config);

// DPM-Solver++ multistep of order 1 or 2 (Lu et al., 2022b, algorithm 2).
Sampler dpm_solver_pp_multistep(const SchedulerConfig& config);

}  // namespace sdgen
