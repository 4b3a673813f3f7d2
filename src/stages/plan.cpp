#include "stages/plan.h"

#include "request/validate.h"
#include "stages/batch.h"
#include "stages/control.h"
#include "stages/drawn_size.h"
#include "stages/guidance.h"
#include "stages/input_pictures.h"
#include "stages/picture_request.h"
#include "stages/step_cache.h"
#include "stages/text.h"

namespace sdgen {
namespace {

Networks networks_of(const Models& models) {
  const Steering& steering = models.base.steering;
  return {steering.nets(), steering.infos.size() - steering.nets(), models.refiner.has_value(),
          models.base.extra_channels == ExtraChannels::steering_picture};
}

// What the request's pictures leave open of its size, from the model.
void settle_size(const Models& models, Request& r) {
  const Defaults& defaults = defaults_of(models, r);
  if (!r.width) r.width = defaults.width;
  if (!r.height) r.height = defaults.height;
  const int factor = models.size_factor();
  const std::int64_t most = std::min<std::int64_t>(kMostSide, models.base.latents.most);
  for (const auto& [name, size] : {std::pair{"width", *r.width}, {"height", *r.height}}) {
    if (factor == most && size != most)
      throw Error(Fault::usage, concat(name, ' ', size, ": this model draws pictures of ", most, 'x', most,
                                       " alone, which it has positions for"));
    if (size < factor || size > most)
      throw Error(Fault::usage, concat(name, ' ', size, " is outside ", factor, "..", most,
                                       most < kMostSide ? ", what this model has positions for" : ""));
    if (size % factor) {
      const int below = size / factor * factor;
      throw Error(Fault::usage, concat(name, ' ', size, " is not a multiple of ", factor,
                                       ", this model's factor; the nearest are ", below, " and ", below + factor));
    }
  }
  if (const Size asked{*r.width, *r.height}, size = drawn_size(models.base.latents, r); r.init_image && size != asked)
    throw Error(Fault::usage, concat(FieldName{"init_image"}, ": a ", models.base.family,
                                     " draws on pictures in its own ", "sizes alone, not at ", asked.width, "x",
                                     asked.height, "; the nearest is ", size.width, "x", size.height));
}

// Building grid and sampler finds every combination that a scheduler refuses.
std::vector<ModelRun> runs_of(const Models& models, const Request& r) {
  std::vector<ModelRun> runs;
  for (std::size_t i = 0; i < models.count(); ++i) {
    runs.emplace_back(models[i], r, /*refining=*/i > 0);
    runs.back().scheduler.sampler();
  }
  return runs;
}

void add_loras(const Models& models, const Request& r, Plan::Impl& plan) {
  plan.loras = models.loras;
  plan.loras.insert(plan.loras.end(), r.loras.begin(), r.loras.end());
  if (!plan.loras.empty()) plan.lora_infos = models.base.lora_infos(plan.loras);
}

}  // namespace

Plan make_plan(const Models& models, Request r, const Plan* like) {
  settle_text(models, r);
  validate(r, networks_of(models));
  std::vector<std::string> warnings;
  settle_controls(models, r);
  settle_guidance(models, r, warnings);
  settle_cache(models, r);
  settle_pictures(models, r);
  settle_size(models, r);
  settle_steps(models, r);
  Plan::Impl plan{{}, like ? like->impl().runs : nullptr, {}};
  plan.warnings = std::move(warnings);
  add_loras(models, r, plan);
  Request asked = r;
  asked.loras.clear();  // which change nothing about a run
  if (!like || &plan.run(0).parts != &models.base || !share_a_batch(plan.runs->asked, asked)) {
    plan.runs = std::make_shared<const Plan::Impl::Runs>(Plan::Impl::Runs{std::move(asked), runs_of(models, r)});
    require_something_to_paint(models.base, r);
    require_skipped_layers_act(r, plan.run(0));
    require_guidance_acts(r, plan.runs->of);
  }
  settle_scheduler(plan.run(0), r);
  for (const ModelRun& run : plan.runs->of)
    plan.prompts.push_back(prompt_schedule(r, scheduled_steps(run.scheduler, r)));
  if (r.prompt_syntax == PromptSyntax::weighted) {
    require_readable(plan.prompts[0]);
    require_shares(models.base, r, plan.prompts[0]);
  }
  plan.request = std::move(r);
  return Plan(std::make_shared<const Plan::Impl>(std::move(plan)));
}

const Request& Plan::request() const { return impl_->request; }
const SchedulerInfo& Plan::scheduler() const { return *impl_->run(0).scheduler.row; }
const std::vector<LoraInfo>& Plan::loras() const { return impl_->lora_infos; }

}  // namespace sdgen
