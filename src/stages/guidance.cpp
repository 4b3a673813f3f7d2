#include "stages/guidance.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>

#include "stages/text.h"

namespace sdgen {
namespace {

// The calls in which it acts: diffusers counts entries of its timesteps from the run's beginning, and compares them
// with shares of the steps asked for.
bool acts(const Request& r, int call) {
  return call > *r.steps * *r.skip_layer_start && call < *r.steps * *r.skip_layer_stop;
}

void settle_interval(const Parts& parts, const Request& r) {
  if (!r.guidance_interval) return;
  const FieldName field{"guidance_interval"};
  const auto [begin, end] = *r.guidance_interval;
  if (!(0 <= begin && begin < end && end <= 1))
    throw Error(Fault::usage,
                concat(field, ' ', begin, ',', end, ": expected two shares of the steps, 0 <= begin < ", "end <= 1"));
  if (!guided(parts, r))
    throw Error(Fault::usage, concat(field, " is of the guidance, which there is none of: its scale is 1 or less"));
}

void settle_skipped_layers(const Models& models, Request& r) {
  const std::int64_t layers = models.base.skippable_layers;
  if (!r.skip_layers) {
    for (const auto& [given, field] : {std::pair{r.skip_layer_scale.has_value(), "skip_layer_scale"},
                                       {r.skip_layer_start.has_value(), "skip_layer_start"},
                                       {r.skip_layer_stop.has_value(), "skip_layer_stop"}})
      if (given) throw Error(Fault::usage, concat(FieldName{field}, " needs ", FieldName{"skip_layers"}));
    return;
  }
  const FieldName field{"skip_layers"};
  if (layers == 0)
    throw Error(Fault::usage, concat(field, ": skip-layer guidance is for Stable Diffusion 3 and 3.5; the model ",
                                     models.name, " is a ", models.base.family));
  if (r.skip_layers->empty()) throw Error(Fault::usage, concat(field, ": no layer is named"));
  for (const int layer : *r.skip_layers)
    if (layer < 0 || layer >= layers)
      throw Error(Fault::usage,
                  concat(field, ": the transformer has no layer ", layer, "; its layers are 0 to ", layers - 1));
  if (!guided(models.base, r))
    throw Error(Fault::usage, concat(field, " adds to the guidance, which a scale of ", models.base.neutral_guidance,
                                     " or less turns off"));
  // diffusers' defaults
  if (!r.skip_layer_scale) r.skip_layer_scale = 2.8;
  if (!r.skip_layer_start) r.skip_layer_start = 0.01;
  if (!r.skip_layer_stop) r.skip_layer_stop = 0.2;
  if (!std::isfinite(*r.skip_layer_scale)) throw Error(Fault::usage, "the skip-layer scale is not a finite number");
  for (const auto& [name, share] : {std::pair{"start", *r.skip_layer_start}, {"stop", *r.skip_layer_stop}})
    if (!(share >= 0 && share <= 1))
      throw Error(Fault::usage, concat("the skip-layer ", name, ' ', share, " is outside 0..1"));
}

// Which of the scales there are, and whether they act.
void settle_scales(const Models& models, Request& r, std::vector<std::string>& warnings) {
  const Parts& parts = models.base;
  const FieldName guidance{"guidance_scale"}, true_cfg{"true_cfg_scale"}, negative{"negative_prompt"};
  if (r.true_cfg_scale && !parts.true_guidance)
    throw Error(Fault::usage, concat(true_cfg, " is for models that were distilled on guidance, as Flux; the model ",
                                     models.name, " is a ", parts.family, ", which ", guidance, " guides"));
  if (parts.takes_guidance_scale) {
    if (!r.guidance_scale) r.guidance_scale = defaults_of(models, r).guidance_scale;
  } else if (r.guidance_scale && *r.guidance_scale != 0 && *r.guidance_scale != 1) {
    throw Error(
        Fault::usage,
        concat(guidance, ' ', *r.guidance_scale, ": the model ", models.name,
               " takes no guidance scale (guidance_embeds is false): leave it out, or say 0",
               parts.true_guidance ? concat("; ", true_cfg, " with ", negative, " guides it, at twice the time") : ""));
  }
  if (parts.usual_true_cfg_scale > 0 && r.negative_prompt && !r.true_cfg_scale)
    r.true_cfg_scale = parts.usual_true_cfg_scale;
  if (r.true_cfg_scale.value_or(0) > 1 && !r.negative_prompt) {
    warnings.push_back(concat(true_cfg, " changes nothing without ", negative, ", which may be empty"));
    r.true_cfg_scale.reset();
  }
  if (!parts.guidance_distilled || guided(parts, r) || defaults_of(models, r).negative_prompt) return;
  for (const TextField& field : kNegativePrompts)
    if (r.*field.text)
      warnings.push_back(concat(FieldName{field.name}, " changes nothing: the model ", models.name,
                                parts.true_guidance ? concat(" is told one only where ", true_cfg, " is above 1")
                                                    : " was distilled on guidance"));
}

// Moves the prompted answers so that the guided one, of scale s, has what is to be added: c + scale / s * (c -
// skipped).
class SkipLayerGuided final : public Backbone {
 public:
  SkipLayerGuided(std::shared_ptr<const Backbone> whole, std::shared_ptr<const Backbone> without, std::int64_t negative,
                  double share)
      : whole_(std::move(whole)), without_(std::move(without)), negative_(negative), share_(share) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override {
    const at::Tensor out = whole_->predict(x, t, conditioning);
    const auto prompted = [this](const at::Tensor& rows) { return rows.slice(0, negative_); };
    const at::Tensor with = prompted(out);
    const at::Tensor without = without_->predict(prompted(x), prompted(t), conditioning.rows(negative_, x.size(0)));
    return at::cat({out.slice(0, 0, negative_), with + share_ * (with - without)});
  }

 private:
  std::shared_ptr<const Backbone> whole_, without_;
  std::int64_t negative_;  // rows of the batch, at its front, that are the negative prompts'
  double share_;
};

}  // namespace

bool guided(const Parts& parts, const Request& r) {
  return parts.guidance_distilled ? r.true_cfg_scale.value_or(0) > 1
                                  : r.guidance_scale.value_or(0) > parts.neutral_guidance;
}

void settle_guidance(const Models& models, Request& r, std::vector<std::string>& warnings) {
  for (const auto& [scale, name] : {std::pair{r.guidance_scale, "guidance"}, {r.true_cfg_scale, "true CFG"}})
    if (!std::isfinite(scale.value_or(0)))
      throw Error(Fault::usage, concat("the ", name, " scale is not a finite number"));
  if (!std::isfinite(r.guidance_rescale.value_or(0)))
    throw Error(Fault::usage, "guidance rescale is not a finite number");
  if (r.guidance_rescale) require_text(models, FieldName{"guidance_rescale"});
  settle_scales(models, r, warnings);
  settle_interval(models.base, r);
  settle_skipped_layers(models, r);
}

void require_shares(const Parts& parts, const Request& r, const PromptSchedule& prompts) {
  if (prompts.weights == std::vector<double>{1}) return;
  if (r.guidance_interval)
    throw Error(Fault::usage,
                concat("AND, and a weight after a prompt's last colon, are shares of the guidance, which ",
                       FieldName{"guidance_interval"}, " takes away at some steps"));
  if (guided(parts, r)) return;
  throw Error(Fault::usage, concat("AND, and a weight after a prompt's last colon, are shares of the guidance, which ",
                                   parts.guidance_distilled
                                       ? "this distilled model has none of"
                                       : concat("a guidance scale of ", parts.neutral_guidance, " or less turns off")));
}

std::optional<Guidance> guidance_of(const Parts& parts, const Request& r, const PromptSchedule& prompts) {
  if (!guided(parts, r)) return std::nullopt;
  const double scale = parts.guidance_distilled ? *r.true_cfg_scale : *r.guidance_scale + 1 - parts.neutral_guidance;
  return Guidance{scale, r.guidance_rescale.value_or(0), prompts.weights, parts.kept_norms};
}

bool guides(const Request& r, const ModelRun& run, std::size_t call) {
  if (!r.guidance_interval) return true;
  const double place = double(run.begin + call), steps = double(run.grid.steps.size());
  return place >= r.guidance_interval->begin * steps && place < r.guidance_interval->end * steps;
}

void require_guidance_acts(const Request& r, const std::vector<ModelRun>& runs) {
  if (!r.guidance_interval) return;
  for (const ModelRun& run : runs)
    for (std::size_t call = 0; call < run.end - run.begin; ++call)
      if (guides(r, run, call)) return;
  const ModelRun& run = runs.front();
  const double steps = double(run.grid.steps.size());
  throw Error(Fault::usage, concat(FieldName{"guidance_interval"}, ": no call i of the schedule's ",
                                   run.grid.steps.size(), " (this run's are ", run.begin, " to ", runs.back().end - 1,
                                   ") is in ", r.guidance_interval->begin * steps, " <= i < ",
                                   r.guidance_interval->end * steps, "; choose a longer interval, or more steps"));
}

void require_skipped_layers_act(const Request& r, const ModelRun& run) {
  if (!r.skip_layers) return;
  for (int call = 0; call < run.calls(); ++call)
    if (acts(r, call) && guides(r, run, std::size_t(call))) return;
  throw Error(Fault::usage, concat(FieldName{"skip_layers"}, ": no step i of ", *r.steps, " (from 0, of ", run.calls(),
                                   " network calls) is between ", FieldName{"skip_layer_start"}, " and ",
                                   FieldName{"skip_layer_stop"}, ": ", *r.steps * *r.skip_layer_start, " < i < ",
                                   *r.steps * *r.skip_layer_stop, "; choose more steps, or a later stop"));
}

PerCall<std::shared_ptr<const Backbone>> skip_layers(PerCall<std::shared_ptr<const Backbone>> backbones,
                                                     const StepPart& step, const ModelRun& run, const Batch& batch) {
  const Request& r = batch.common().request;
  if (!r.skip_layers) return backbones;
  const std::shared_ptr<const Backbone> without = step.without(*r.skip_layers);
  PerCall<std::shared_ptr<const Backbone>> all;
  for (int call = 0; call < run.calls(); ++call) {
    std::shared_ptr<const Backbone> backbone = backbones.at(std::size_t(call));
    if (acts(r, call) && guides(r, run, std::size_t(call)))
      backbone = std::make_shared<SkipLayerGuided>(std::move(backbone), without, std::int64_t(batch.rows),
                                                   *r.skip_layer_scale / *r.guidance_scale);
    all.distinct.push_back(std::move(backbone));
    all.of_call.push_back(std::size_t(call));
  }
  return all;
}

}  // namespace sdgen
