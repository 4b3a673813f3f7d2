// The samplers: pure functions over nodes whose history is local variables.
#pragma once

#include "diffusion/scheduler_config.h"
#include "diffusion/types.h"

namespace sdgen {

using MakeSampler = Sampler(const SchedulerConfig& config);

// DDIM with noise share config.eta (Song et al., 2021, equations 12 and 16).
MakeSampler ddim;
// The same formula over variance-exploding nodes: Euler's method (Karras et al., 2022, algorithm 1 without its
// second-order correction), and with eta 1 ancestral Euler (k-diffusion's sample_euler_ancestral).
MakeSampler euler, euler_ancestral;
// Ancestral sampling from the posterior (Ho et al., 2020, equations 6 and 7, algorithm 2).
MakeSampler ddpm;
// Pseudo numerical methods (Liu et al., 2022): Adams-Bashforth on the network's output (equation 12), begun by an
// improved Euler step (plms) or by three pseudo Runge-Kutta steps (pndm: equation 13).
MakeSampler pndm;
// Heun's method, the trapezoid rule (Karras et al., 2022, algorithm 1), clean into sigma 0.
MakeSampler heun;
// DPM-Solver-2, the midpoint rule in log sigma (Lu et al., 2022, algorithm 1), as k-diffusion's sample_dpm_2 has it;
// and its ancestral form.
MakeSampler dpm2, dpm2_ancestral;
// Linear multistep of order 4 in sigma (k-diffusion's sample_lms), and DEIS of order 1 to 3 (Zhang & Chen, 2023,
// equation 15, in the logarithm of rho = sigma / alpha): Lagrange polynomials, integrated exactly.
MakeSampler lms, deis;
// DPM-Solver++ multistep of order 1 to 3 (Lu et al., 2022b, algorithm 2 and appendix); DPM-Solver, and the stochastic
// forms of both (ibid., appendix), as config.algorithm_type says. The third-order formulas,
// as diffusers has them, lack a factor 2 in the curvature and converge with order 2.
MakeSampler dpm_solver_multistep;
// Their singlestep forms (ibid., algorithm 1): every `order` steps share a base.
MakeSampler dpm_solver_singlestep;
// UniPC (Zhao et al., 2023, algorithms 5 to 8): UniP predictor and UniC corrector on the same call.
MakeSampler unipc;
// Latent consistency sampling (Luo et al., 2023, algorithm 3).
MakeSampler lcm;
// Strategic stochastic sampling of trajectory consistency models (Zheng et al., 2024, algorithm 4), gamma = config.eta.
MakeSampler tcd;

}  // namespace sdgen
