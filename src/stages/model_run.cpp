#include "stages/model_run.h"

#include <algorithm>
#include <cmath>

#include "sdgen/error.h"
#include "stages/drawn_size.h"

namespace sdgen {
namespace {

Scheduler scheduler_of(const Parts& parts, const Request& r) {
  Scheduler s = Scheduler::choose(parts.scheduler,
                                  {r.scheduler, r.timestep_spacing, r.prediction_type, r.eta, r.sigma_schedule,
                                   r.rescale_betas_zero_snr, r.flow_shift},
                                  repaints(r) ? parts.rules.repaint_quirks : parts.rules.quirks);
  // LCM's own pipeline takes no mask: the one that does leaves out the first steps.
  if (r.init_image && !repaints(r) && parts.rules.strength_spreads && s.has("original_inference_steps"))
    s.config.strength = *r.strength;
  return s;
}

// Of a backbone that looks at the picture in patches, as the pipeline counts them for the schedule.
std::int64_t tokens(const Parts& parts, const Request& r) {
  const Latents& latents = parts.latents;
  if (parts.rules.counts_channels) return latents.channels;
  const std::int64_t side = latents.factor * latents.patch;
  const Size size = drawn_size(latents, r);
  return size.width / side * (size.height / side);
}

// The first step of image to image.
std::size_t first_step(const Scheduler& scheduler, const SchedulerRules& rules, const Request& r) {
  const double share = std::min(*r.steps * *r.strength, double(*r.steps));
  const int run = rules.strength_rounds_up ? *r.steps - static_cast<int>(*r.steps - share) : static_cast<int>(share);
  if (run < 1)
    throw Error(Fault::usage, concat("strength ", *r.strength, " leaves none of ", *r.steps,
                                     " steps; choose a higher one, or more steps"));
  if (scheduler.config.strength < 1) return 0;
  return std::size_t(*r.steps - run) * (scheduler.row->in_pairs() ? 2 : 1);
}

}  // namespace

void settle_steps(const Models& models, Request& r) {
  const Defaults& defaults = defaults_of(models, r);
  if (models.refiner && !r.refiner_start) r.refiner_start = 0.8;
  if (r.init_image && !r.strength) r.strength = defaults.strength;
  if (!r.steps) r.steps = defaults.steps;
  if (!r.scheduler) r.scheduler = defaults.scheduler;
  if (*r.steps < 1 || *r.steps > kMostSteps)
    throw Error(Fault::usage, concat("steps ", *r.steps, " is outside 1..", kMostSteps));
}

void settle_scheduler(const ModelRun& run, Request& r) {
  const Scheduler& scheduler = run.scheduler;
  if (scheduler.takes_spacing()) r.timestep_spacing = spacing_name(scheduler.config.spacing);
  r.prediction_type = prediction_name(scheduler.config.prediction);
  const FlowConfig& flow = scheduler.config.flow;
  if (scheduler.config.prediction == Prediction::flow && !flow.dynamic) r.flow_shift = flow.shift;
  if (scheduler.row->takes_eta()) r.eta = scheduler.config.eta;
  if (scheduler.has("use_karras_sigmas")) r.sigma_schedule = sigma_schedule_name(scheduler.config.sigmas);
  if (scheduler.has("rescale_betas_zero_snr")) r.rescale_betas_zero_snr = scheduler.config.zero_snr;
}

ModelRun::ModelRun(const Parts& parts, const Request& r, bool refining)
    : parts(parts),
      scheduler(scheduler_of(parts, r)),
      grid(scheduler.grid({*r.steps, tokens(parts, r), parts.rules.even_sigmas, parts.rules.empirical_shift})),
      begin(0),
      end(grid.steps.size()) {
  if (r.init_image && !refining) begin = first_step(scheduler, parts.rules, r);
  if (!r.refiner_start) return;
  const double total = scheduler.config.train_steps, cutoff = std::nearbyint(total - *r.refiner_start * total);
  std::size_t first = 0;
  for (const Step& step : grid.steps) first += step.from.t >= cutoff;
  (refining ? begin : end) = first;
  if (begin > 0 && !refining && begin >= end)  // from pure noise the refiner may have all
    throw Error(Fault::usage, concat("strength ", *r.strength, " begins where the refiner takes over (refiner start ",
                                     *r.refiner_start, "); choose a higher strength or a later start"));
  if (refining && scheduler.row->in_pairs()) begin -= begin % 2;  // never from the middle of a step
  if (refining && begin == end)
    throw Error(Fault::usage, concat("refiner start ", *r.refiner_start, " leaves the refiner none of ",
                                     grid.steps.size(), " steps; choose an earlier one, or more steps"));
}

}  // namespace sdgen
