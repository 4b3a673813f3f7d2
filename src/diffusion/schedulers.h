// The table of schedulers: a name, the diffusers class that it equals, a grid and a sampler.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "diffusion/grids.h"
#include "diffusion/samplers.h"

namespace sdgen {

struct SchedulerRow {
  const char* name;
  const char* diffusers_class;
  Json options;  // what the row adds to the config: class.from_config(config, **options)
  Grid (*grid)(const SchedulerConfig&, const NoiseSchedule&, int steps);
  Sampler (*sampler)(const SchedulerConfig&, double eta);
  bool takes_eta;
  bool predicts_sample;  // the class knows prediction_type "sample"
  const char* summary;
};
const std::vector<SchedulerRow>& scheduler_rows();

// What a request may change about a model's scheduler.
struct SchedulerChoice {
  std::optional<std::string> name, timestep_spacing, prediction_type;
  std::optional<double> eta;
};

// A scheduler ready to run: which row, with which config.
struct Scheduler {
  const SchedulerRow* row;
  SchedulerConfig config;
  double eta = 0;

  // The model's own, or the one that was chosen, with the other choices applied. Throws Error(usage) for unknown names
  // and for flags that the class does not have, Error(input) for what the file says and nobody supports.
  static Scheduler choose(const Config& file, const SchedulerChoice& choice,
                          Corrections corrections = Corrections::stable_diffusion);

  Grid grid(int steps) const { return row->grid(config, NoiseSchedule(config), steps); }
  Sampler sampler() const { return row->sampler(config, eta); }
};

}  // namespace sdgen
