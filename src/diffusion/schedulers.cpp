#include "diffusion/schedulers.h"

#include <c10/util/Exception.h>

#include "io/text.h"
#include "sdgen/error.h"
#include "sdgen/sdgen.h"

namespace sdgen {

const std::vector<SchedulerRow>& scheduler_rows() {
  static const std::vector<SchedulerRow> rows = [] {
    struct Functions {
      MakeGrid* grid;
      MakeSampler* sampler;
    };
#define SCHEDULER_CLASS(...)
#define SCHEDULER(grid, sampler, ...) {grid, sampler},
    const std::vector<Functions> functions = {
#include "schedulers/rows.inc"
    };
#undef SCHEDULER
#undef SCHEDULER_CLASS
    std::vector<SchedulerRow> all;
    for (const SchedulerInfo& info : scheduler_infos()) {
      const auto& [grid, sampler] = functions[all.size()];
      all.push_back({info, scheduler_class(info.diffusers_class), Json::parse(info.options), grid, sampler});
    }
    return all;
  }();
  return rows;
}

namespace {

// What the name means of a model that predicts a flow, or of another.
const SchedulerRow& row_named(const std::string& name, bool flow) {
  std::vector<std::string> known;
  for (const SchedulerRow& row : scheduler_rows()) {
    if (name == row.name) return flow && !row.on_flow.empty() ? row_named(row.on_flow, flow) : row;
    known.push_back(row.name);
  }
  throw Error(Fault::usage, concat("scheduler '", name, "' is unknown; there are ", joined(known)));
}

// The row of the config's class whose options it has, or has most of: all rows of a class run any config of that class.
const SchedulerRow& row_like(const SchedulerConfig& config) {
  const SchedulerRow* best = nullptr;
  int most = -1;
  for (const SchedulerRow& row : scheduler_rows()) {
    int equal = 0;
    for (const auto& [key, value] : row.added.items()) equal = 2 * equal + (config.keys.value(key, Json()) == value);
    if (config.type == row.type && equal > most) best = &row, most = equal;
  }
  TORCH_CHECK(best != nullptr, "no scheduler row has the class ", config.type->name);
  return *best;
}

[[noreturn]] void refuse(const SchedulerClass& type, const std::string& what) {
  throw Error(Fault::usage, concat(type.name, " has no ", what));
}

// Is the class for this kind of model? `name`: of the row that was chosen; "": it is the model's own.
void require_kind(const SchedulerClass& type, const std::string& name, bool flow, Fault fault) {
  if (flow ? type.serves_flow() : type.serves_diffusion()) return;
  throw Error(fault, concat("scheduler ", name, name.empty() ? "" : " (", type.name, name.empty() ? "" : ")",
                            flow ? " is not for models that predict a flow, as this one does; these are: "
                                 : " is for models that predict a flow, and this one does not; for it there are: ",
                            schedulers_for(flow)));
}

// What the choice, and the row that it means, add to the class's config. Throws Error(usage) for what it does not have.
Json options_of(const SchedulerChoice& choice, const SchedulerClass& type, const SchedulerRow* row, bool flow) {
  Json options = row ? row->added : Json::object();
  if (choice.timestep_spacing)
    spacing_from(options["timestep_spacing"] = *choice.timestep_spacing, Fault::usage,
                 concat(FieldName{"timestep_spacing"}));
  if (choice.prediction_type) options["prediction_type"] = *choice.prediction_type;
  if (flow && type.has("use_flow_sigmas") && (row || choice.prediction_type)) {
    options["prediction_type"] = prediction_name(Prediction::flow);
    options["use_flow_sigmas"] = true;
  }
  if (choice.zero_snr) options["rescale_betas_zero_snr"] = *choice.zero_snr;
  if (choice.zero_snr && (flow || !type.has("rescale_betas_zero_snr"))) refuse(type, "zero terminal SNR");
  if (choice.flow_shift) {
    const double shift = *choice.flow_shift;
    if (!flow) throw Error(Fault::usage, concat(FieldName{"flow_shift"}, " is for models that predict a flow"));
    if (!(shift > 0 && shift <= kMostFlowShift))
      throw Error(Fault::usage, concat("the flow shift ", shift, " is not above 0 and at most ", kMostFlowShift));
    options[type.has("shift") ? "shift" : "flow_shift"] = shift;
    if (type.has("use_dynamic_shifting")) options["use_dynamic_shifting"] = false;
  }
  if (choice.sigma_schedule) {
    const SigmaSchedule wanted = sigma_schedule_from(*choice.sigma_schedule, concat(FieldName{"sigma_schedule"}));
    if (!type.has("use_karras_sigmas")) refuse(type, "sigma schedules");
    if (!has_schedule(type, wanted, flow))
      refuse(type, concat("sigma schedule ", *choice.sigma_schedule, flow ? " of flow sigmas" : ""));
    const Json keys = sigma_schedule_keys(wanted);
    for (const auto& [key, value] : keys.items())
      if (type.has(key)) options[key] = value;
  }
  return options;
}

}  // namespace

Scheduler Scheduler::choose(const Config& file, const SchedulerChoice& choice, PipelineQuirks quirks) {
  std::optional<Prediction> prediction;
  if (choice.prediction_type)
    prediction = prediction_from(*choice.prediction_type, Fault::usage, concat(FieldName{"prediction_type"}));
  const bool flow = prediction ? *prediction == Prediction::flow : is_flow(file);
  const SchedulerRow* row = choice.name ? &row_named(*choice.name, flow) : nullptr;
  const SchedulerClass& type = row ? *row->type : class_of(file);
  require_kind(type, row ? row->name : "", flow, row || prediction ? Fault::usage : Fault::input);

  const Json options = options_of(choice, type, row, flow);
  Scheduler s{nullptr, row ? assigned_scheduler(file, type, options, quirks) : own_scheduler(file, options, quirks)};
  s.row = row ? row : &row_like(s.config);
  if (choice.timestep_spacing && !s.takes_spacing()) refuse(type, "timestep spacing: it goes its own way");
  if (s.config.prediction == Prediction::sample && !type.predicts_sample)
    throw Error(prediction ? Fault::usage : Fault::input,
                concat("scheduler ", s.row->name, " (", type.name, ") does not know prediction type 'sample'"));
  s.config.eta = choice.eta.value_or(0);
  if (!(s.config.eta >= 0 && s.config.eta <= 1))
    throw Error(Fault::usage, concat("eta ", s.config.eta, " is outside 0..1"));
  if (choice.eta && !s.row->takes_eta()) refuse(type, "eta; these have: " + schedulers_with_eta());
  return s;
}

Grid Scheduler::grid(const GridWish& wish) const {
  Grid grid = row->grid(config, wish);
  for (const Step& step : grid.steps)
    if (step.from.alpha == 0 && config.prediction == Prediction::epsilon)
      throw Error(
          Fault::usage,
          concat("scheduler ", row->name, ": at timestep ", step.from.t,
                 " nothing is left of the picture (rescale_betas_zero_snr), where prediction type 'epsilon' says "
                 "nothing; such models predict 'v_prediction'"));
  return grid;
}

}  // namespace sdgen
