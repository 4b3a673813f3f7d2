// The table of schedulers: what is known of each, its grid and its sampler.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "diffusion/samplers.h"
#include "sdgen/sdgen.h"

namespace sdgen {

struct SchedulerRow : SchedulerInfo {
  const SchedulerClass* type;
  Json added;  // to the config, of `options`: class.from_config(config, **options)
  MakeGrid* grid;
  MakeSampler* sampler;
};
const std::vector<SchedulerRow>& scheduler_rows();

// What a request may change about a model's scheduler.
struct SchedulerChoice {
  std::optional<std::string> name, timestep_spacing, prediction_type;
  std::optional<double> eta;
  std::optional<std::string> sigma_schedule;  // default | karras | exponential | beta | lu_lambdas
  std::optional<bool> zero_snr;
  std::optional<double> flow_shift = {};  // a number, also where the model's own grows with the picture
};

// A scheduler ready to run: which row, with which config.
struct Scheduler {
  const SchedulerRow* row;
  SchedulerConfig config;

  // The model's own, or the one that was chosen, with the other choices applied. Throws Error(usage) for unknown names
  // and for flags that the class does not have, Error(input) for what the file says and is not supported.
  static Scheduler choose(const Config& file, const SchedulerChoice& choice,
                          PipelineQuirks quirks = PipelineQuirks::stable_diffusion);

  bool has(const std::string& key) const { return config.keys.contains(key); }
  // timestep_spacing changes something.
  bool takes_spacing() const { return row->spacings && has("timestep_spacing"); }
  Grid grid(const GridWish& wish) const;
  Sampler sampler() const { return row->sampler(config); }
};

}  // namespace sdgen
