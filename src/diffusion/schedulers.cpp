#include "diffusion/schedulers.h"

#include <c10/util/Exception.h>

#include "sdgen/error.h"
#include "sdgen/sdgen.h"

namespace sdgen {

const std::vector<SchedulerRow>& scheduler_rows() {
  constexpr unsigned eta = SchedulerRow::kEta, sample = SchedulerRow::kSample, spacing = SchedulerRow::kSpacing,
                     pairs = SchedulerRow::kPairs;
  const Json none = Json::object(), plms{{"skip_prk_steps", true}}, prk{{"skip_prk_steps", false}};
  const auto solver = [](const char* algorithm, int order) {
    return Json{{"algorithm_type", algorithm}, {"solver_order", order}};
  };
#define SCHEDULER(...) {__VA_ARGS__},
  static const std::vector<SchedulerRow> rows = {
#include "schedulers/rows.inc"
  };
#undef SCHEDULER
  return rows;
}

namespace {

const SchedulerRow& row_named(const std::string& name) {
  std::string known;
  for (const SchedulerRow& row : scheduler_rows()) {
    if (name == row.name) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error(Fault::usage, concat("scheduler '", name, "' is unknown; there are ", known));
}

// The row of the config's class whose options it has, or has most of: all rows of a class run any config of that class.
const SchedulerRow& row_like(const SchedulerConfig& config) {
  const SchedulerRow* best = nullptr;
  int most = -1;
  for (const SchedulerRow& row : scheduler_rows()) {
    int equal = 0;
    for (const auto& [key, value] : row.options.items()) equal = 2 * equal + (config.keys.value(key, Json()) == value);
    if (config.class_name == row.diffusers_class && equal > most) best = &row, most = equal;
  }
  TORCH_CHECK(best != nullptr, "no scheduler row has the class ", config.class_name);
  return *best;
}

}  // namespace

Scheduler Scheduler::choose(const Config& file, const SchedulerChoice& choice, Corrections corrections) {
  const SchedulerRow* row = choice.name ? &row_named(*choice.name) : nullptr;
  const std::string name = row ? row->diffusers_class : file.string("_class_name", "PNDMScheduler");
  const auto refuse = [&name](const std::string& what) { throw Error(Fault::usage, concat(name, " has no ", what)); };

  Json options = row ? row->options : Json::object();
  if (choice.timestep_spacing)
    spacing_from(options["timestep_spacing"] = *choice.timestep_spacing, Fault::usage,
                 concat(FieldName{"timestep_spacing"}));
  if (choice.prediction_type)
    prediction_from(options["prediction_type"] = *choice.prediction_type, Fault::usage,
                    concat(FieldName{"prediction_type"}));
  if (choice.zero_snr) options["rescale_betas_zero_snr"] = *choice.zero_snr;
  if (choice.zero_snr && !scheduler_has(name, "rescale_betas_zero_snr")) refuse("zero terminal SNR");
  if (choice.sigma_schedule) {
    const Json keys = sigma_schedule_keys(*choice.sigma_schedule, concat(FieldName{"sigma_schedule"}));
    if (!scheduler_has(name, "use_karras_sigmas")) refuse("sigma schedules");
    for (const auto& [key, value] : keys.items()) {
      if (scheduler_has(name, key))
        options[key] = value;
      else if (value == true)
        refuse(concat("sigma schedule ", *choice.sigma_schedule));
    }
  }

  Scheduler s{nullptr,
              row ? assigned_scheduler(file, name, options, corrections) : own_scheduler(file, options, corrections)};
  s.row = row ? row : &row_like(s.config);
  if (choice.timestep_spacing && !s.row->spaced()) refuse("timestep spacing: it goes its own way");
  if (s.config.prediction == Prediction::sample && !(s.row->knows & SchedulerRow::kSample))
    throw Error(choice.prediction_type ? Fault::usage : Fault::input,
                concat("scheduler ", s.row->name, " (", name, ") does not know prediction type 'sample'"));
  s.config.eta = choice.eta.value_or(0);
  if (!(s.config.eta >= 0 && s.config.eta <= 1))
    throw Error(Fault::usage, concat("eta ", s.config.eta, " is outside 0..1"));
  if (choice.eta && !s.row->takes_eta()) refuse("eta; only ddim and tcd do");
  return s;
}

Grid Scheduler::grid(int steps) const {
  Grid grid = row->grid(config, NoiseSchedule(config), steps);
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
