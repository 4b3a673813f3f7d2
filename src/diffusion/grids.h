// What grids are made of: which nodes a run of N steps visits, by the conventions of the diffusers classes (0.42.1).
#pragma once

#include <string>
#include <vector>

#include "diffusion/noise_schedule.h"
#include "diffusion/samplers.h"

namespace sdgen {

// Throws Error(usage): `steps` cannot be spread over the schedule's timesteps.
[[noreturn]] void too_many(int steps, const SchedulerConfig& config, const std::string& why);

// numpy's rounding: halves to even.
double round_even(double x);

// The timesteps of a run over 0..total-1, descending. extra = 1: linspace and leading are laid for one more, and the
// last is dropped (the DPM-Solver classes).
std::vector<double> spaced(const SchedulerConfig& c, int steps, int total, int extra, bool rounded);

// The timesteps of DDPM, DDIM and PNDM.
std::vector<int> whole_timesteps(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps);

// x0 itself, where the last step ends.
constexpr Node kClean{0, 1, 0};

// Where a step ends that may go beyond the first timestep.
Node end_of_step(const SchedulerConfig& c, const NoiseSchedule& schedule, int t);

// Times and sigma / alpha of the entries; sigma has one more, where the last entry ends.
struct Points {
  std::vector<double> t, sigma;
};

// `count` noise levels from `high` to `low`, as the schedule (karras, exponential, beta, lu) spaces them.
std::vector<double> scheduled_sigmas(SigmaSchedule schedule, double high, double low, int count);

// Replaces the points by `steps` of the config's sigma schedule between the ends given, or those that the config gives.
void reschedule(Points& points, const SchedulerConfig& c, const NoiseSchedule& schedule, int steps, double largest,
                double smallest);

// The nodes of the classes that come from k-diffusion.
Points k_points(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps);
double start_scale(const SchedulerConfig& c, const Points& points);

// The flow side of the solvers' classes.
Grid flow_solver_grid(const SchedulerConfig& config, const GridWish& wish);

}  // namespace sdgen
