#include "diffusion/schedulers.h"

#include "sdgen/error.h"
#include "sdgen/sdgen.h"

namespace sdgen {

const std::vector<SchedulerRow>& scheduler_rows() {
  static const std::vector<SchedulerRow> rows = {
      {"ddpm", "DDPMScheduler", Json::object(), ddpm_grid, [](const SchedulerConfig& c, double) { return ddpm(c); },
       false, true, "order 1, stochastic (Ho et al., 2020)"},
      {"ddim", "DDIMScheduler", Json::object(), ddim_grid, ddim, true, true,
       "order 1, deterministic unless --eta > 0 (Song et al., 2021)"},
      {"plms",
       "PNDMScheduler",
       {{"skip_prk_steps", true}},
       plms_grid,
       [](const SchedulerConfig& c, double) { return plms(c); },
       false,
       false,
       "order 4 multistep, one call more than steps, deterministic (Liu et al., 2022)"},
      {"euler", "EulerDiscreteScheduler", Json::object(), euler_grid,
       [](const SchedulerConfig& c, double) { return ddim(c, 0); }, false, true,
       "order 1, deterministic (Karras et al., 2022)"},
      {"dpm++2m",
       "DPMSolverMultistepScheduler",
       {{"algorithm_type", "dpmsolver++"}, {"solver_order", 2}},
       dpm_solver_grid,
       [](const SchedulerConfig& c, double) { return dpm_solver_pp_multistep(c); },
       false,
       true,
       "order 2 multistep, deterministic (Lu et al., 2022, DPM-Solver++)"},
  };
  return rows;
}

std::vector<SchedulerInfo> scheduler_infos() {
  std::vector<SchedulerInfo> infos;
  for (const SchedulerRow& row : scheduler_rows()) infos.push_back({row.name, row.diffusers_class, row.summary});
  return infos;
}

Scheduler Scheduler::choose(const Config& file, const SchedulerChoice& choice, Corrections corrections) {
  Scheduler s{};
  if (choice.name) {
    std::string known;
    for (const SchedulerRow& row : scheduler_rows()) {
      if (*choice.name == row.name) s.row = &row;
      known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    if (!s.row) throw Error(Fault::usage, concat("scheduler '", *choice.name, "' is unknown; there are ", known));
    s.config = assigned_scheduler(file, s.row->diffusers_class, s.row->options, corrections);
  } else {
    s.config = own_scheduler(file, corrections);
    for (const SchedulerRow& row : scheduler_rows())
      if (s.config.class_name == row.diffusers_class) s.row = &row;
  }
  const SchedulerRow& row = *s.row;
  if (choice.timestep_spacing)
    s.config.spacing = spacing_from(*choice.timestep_spacing, Fault::usage, "--timestep-spacing");
  if (choice.prediction_type)
    s.config.prediction = prediction_from(*choice.prediction_type, Fault::usage, "--prediction-type");
  if (s.config.prediction == Prediction::sample && !row.predicts_sample)
    throw Error(choice.prediction_type ? Fault::usage : Fault::input,
                concat("scheduler ", row.name, " (", row.diffusers_class, ") does not know prediction type 'sample'"));
  s.eta = choice.eta.value_or(0);
  if (!(s.eta >= 0 && s.eta <= 1)) throw Error(Fault::usage, concat("eta ", s.eta, " is outside 0..1"));
  if (choice.eta && !row.takes_eta)
    throw Error(Fault::usage, concat("scheduler ", row.name, " (", row.diffusers_class, ") has no eta; ddim has"));
  return s;
}

}  // namespace sdgen
