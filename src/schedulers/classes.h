// diffusers' scheduler classes: what rows.inc knows of them beside what SchedulerInfo says. Without torch.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// The words that a config key can have; those of other classes' solvers mean the first of `own`.
struct SchedulerWords {
  std::string key;
  std::vector<std::string> own, foreign;
};

struct SchedulerClass {
  std::string name = {};
  Json defaults = {};  // of its constructor (diffusers 0.42.1); a key that is not here is one that it does not have
  std::vector<SchedulerWords> words = {};
  std::vector<std::string> beta_schedules = {};  // besides those that all classes have
  std::string eta_key = {};                      // AUTOMATIC1111's word for the eta of its step(); "": it has none
  int most_order = 100;                          // of solver_order
  bool predicts_sample = true;                   // it knows prediction type "sample"
  bool keeps_alpha = false;                      // zero terminal SNR leaves its last alpha above 0
  bool ends_clean = true;                        // where it has no final_sigmas_type, it ends as "zero" does
  bool ends_in_table = true;     // "sigma_min" is the training's; else, of a sigma schedule, that schedule's own
  bool flow_from_noise = false;  // its flow sigmas begin 1e-6 below 1; else one training timestep below
  bool flow_karras = false;      // use_karras_sigmas goes with use_flow_sigmas

  bool has(const std::string& key) const { return defaults.contains(key); }
  // For models that predict noise, v or x0, and for those that predict a flow.
  bool serves_diffusion() const { return has("beta_start"); }
  bool serves_flow() const { return !serves_diffusion() || has("use_flow_sigmas"); }
};
const std::vector<SchedulerClass>& scheduler_classes();

// Null: diffusers has none of this name, or none that is supported.
const SchedulerClass* scheduler_class(std::string_view name);

}  // namespace sdgen
