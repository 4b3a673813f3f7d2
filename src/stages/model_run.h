// Which steps a model runs.
#pragma once

#include "diffusion/schedulers.h"
#include "stages/models.h"

namespace sdgen {

// The share of a model's grid that it runs. Image to image leaves out the first steps. When two models divide the noise
// levels between them, the first has those from `start` of the schedule on, the refiner the rest (diffusers'
// denoising_end and denoising_start).
struct ModelRun {
  const Parts& parts;
  Scheduler scheduler;
  Grid grid;
  std::size_t begin, end;

  // Of a request that is complete except for what the scheduler says. Throws Error(usage) for whatever scheduler,
  // steps, strength and refiner start make impossible.
  ModelRun(const Parts& parts, const Request& request, bool refining);

  int calls() const { return static_cast<int>(end - begin); }
};

// Fills what a request leaves open of scheduler, steps, strength and the refiner's share, and checks their ranges.
// Throws Error(usage).
void settle_steps(const Models& models, Request& request);

// Writes down what the scheduler of a run does, where it does it.
void settle_scheduler(const ModelRun& run, Request& request);

}  // namespace sdgen
