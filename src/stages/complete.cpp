#include "request/validate.h"
#include "sdgen/error.h"
#include "stages/model_run.h"
#include "stages/models.h"
#include "stages/prompt_schedule.h"
#include "stages/repaint_request.h"

namespace sdgen {
namespace {

// What a model or its pipeline has no use for.
void require_meaning(const Models& models, const Request& r) {
  const Parts& parts = models.base;
  if (parts.finishes && !r.init_image)
    throw Error(
        Fault::usage,
        concat("this model is an SDXL refiner, which finishes another model's pictures: give the SDXL base model "
               "with ",
               FieldName{"model"}, " and this one with ", FieldName{"refiner"}, ", or a picture with ",
               FieldName{"init_image"}));
  if (parts.sizes.count == 0 && (r.original_size || r.target_size || r.crop))
    throw Error(Fault::usage,
                concat("original size, crop and target size are inputs of SDXL; this is a ", parts.family));
  if (r.clip_skip && (*r.clip_skip < 0 || *r.clip_skip > models.clip_skips()))
    throw Error(Fault::usage, concat("clip skip ", *r.clip_skip, " is outside 0..", models.clip_skips(),
                                     ", what this model's text encoders have layers for"));
  if (r.init_image && !parts.defaults.strength)
    throw Error(Fault::usage,
                concat(FieldName{"init_image"}, ": this is a ", parts.family, ", which takes no pictures"));
  require_repaint_meaning(models, r);
}

// What the request leaves open, from the model.
void fill(const Models& models, Request& r) {
  const Defaults& defaults = repaints(r) ? models.base.repaint : models.base.defaults;
  if (models.refiner && !r.refiner_start) r.refiner_start = 0.8;
  if (!r.negative_prompt) r.negative_prompt = defaults.negative_prompt;
  if (r.prompt && !r.prompt_syntax) r.prompt_syntax = PromptSyntax::plain;
  const int factor = models.size_factor();
  if (r.init_image) round_margins(r, factor);
  // A picture that steers gives the size too, as in diffusers' pipelines.
  if ((r.init_image || !r.controls.empty()) && !r.only_masked) {
    const Image* steering = r.init_image ? nullptr : r.controls[0].image.get();
    const Size given = steering ? Size{steering->width, steering->height} : grown_size(r);
    const auto own = [factor](int side) { return std::max(side / factor, 1) * factor; };
    if (!r.width) r.width = own(given.width);
    if (!r.height) r.height = own(given.height);
  }
  if (r.init_image && !r.strength) r.strength = defaults.strength;
  if (!r.width) r.width = defaults.width;
  if (!r.height) r.height = defaults.height;
  if (!r.steps) r.steps = defaults.steps;
  if (!r.guidance_scale) r.guidance_scale = defaults.guidance_scale;
  if (!r.scheduler) r.scheduler = defaults.scheduler;
}

void require_size(const Models& models, const Request& r) {
  const int factor = models.size_factor();
  for (const auto& [name, size] : {std::pair{"width", *r.width}, {"height", *r.height}}) {
    if (size < factor || size > kMostSide)
      throw Error(Fault::usage, concat(name, ' ', size, " is outside ", factor, "..", kMostSide));
    if (size % factor) {
      const int below = size / factor * factor;
      throw Error(Fault::usage, concat(name, ' ', size, " is not a multiple of ", factor,
                                       ", this model's factor; the nearest are ", below, " and ", below + factor));
    }
  }
}

// Building grid and sampler finds every combination that a scheduler refuses; what it does is written down.
void choose_scheduler(const Models& models, Request& r) {
  if (models.refiner) ModelRun(*models.refiner, r, /*refining=*/true).scheduler.sampler();
  const Scheduler scheduler = ModelRun(models.base, r, /*refining=*/false).scheduler;
  scheduler.sampler();
  r.scheduler_used = scheduler.row->name;
  if (scheduler.row->spacings) r.timestep_spacing = spacing_name(scheduler.config.spacing);
  r.prediction_type = prediction_name(scheduler.config.prediction);
  if (scheduler.row->takes_eta()) r.eta = scheduler.config.eta;
  if (scheduler.has("use_karras_sigmas")) r.sigma_schedule = sigma_schedule_name(scheduler.config.sigmas);
  if (scheduler.has("rescale_betas_zero_snr")) r.rescale_betas_zero_snr = scheduler.config.zero_snr;
}

// Weights and schedules of a prompt, and guidance for prompts that are composed.
void require_prompts(const Models& models, const Request& r) {
  if (r.prompt_syntax != PromptSyntax::weighted) return;
  const int steps = scheduled_steps(ModelRun(models.base, r, /*refining=*/false).scheduler, r);
  require_readable(r, steps);
  if (guided(models.base, r) || prompt_schedule(r, steps).weights == std::vector<double>{1}) return;
  throw Error(Fault::usage, concat("AND, and a weight after a prompt's last colon, are shares of the guidance, which ",
                                   models.base.guidance_embed_width ? "this distilled model has none of"
                                                                    : "a guidance scale of 1 or less turns off"));
}

}  // namespace

void require_prompt(bool takes_text, const std::string& model, const Request& r) {
  if (takes_text && !r.prompt)
    throw Error(Fault::usage, concat("no prompt: say with ", FieldName{"prompt"}, " what the picture shows"));
  if (takes_text) return;
  for (const auto& [given, field] : {std::pair{r.prompt.has_value(), FieldName{"prompt"}},
                                     {r.negative_prompt.has_value(), FieldName{"negative_prompt"}},
                                     {r.prompt_syntax.has_value(), FieldName{"prompt_syntax"}},
                                     {r.guidance_scale.has_value(), FieldName{"guidance_scale"}},
                                     {r.guidance_rescale.has_value(), FieldName{"guidance_rescale"}},
                                     {r.clip_skip.has_value(), FieldName{"clip_skip"}}})
    if (given)
      throw Error(Fault::usage, concat(field, ": the model ", model,
                                       " takes no text: it has no text encoder, and draws "
                                       "whatever it was trained on"));
}

Request complete(const Models& models, Request r) {
  require_prompt(models.base.text.has_value(), models.name, r);
  validate(r, {models.base.steering.nets.size(), models.base.steering.infos.size() - models.base.steering.nets.size(),
               models.refiner.has_value()});
  require_meaning(models, r);
  fill(models, r);
  require_size(models, r);
  choose_scheduler(models, r);
  require_prompts(models, r);
  return r;
}

}  // namespace sdgen
