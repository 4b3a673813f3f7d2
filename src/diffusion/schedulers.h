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
  MakeGrid* grid;
  MakeSampler* sampler;
  unsigned knows;  // which of eta, prediction type "sample" and timestep spacing mean something to the class; pairs
  const char* summary;

  static constexpr unsigned kEta = 1, kSample = 2, kSpacing = 4, kPairs = 8;
  bool takes_eta() const { return knows & kEta; }
  bool in_pairs() const { return knows & kPairs; }  // two entries of the grid a step
  bool spaced() const { return knows & kSpacing; }
};
const std::vector<SchedulerRow>& scheduler_rows();

// What a request may change about a model's scheduler.
struct SchedulerChoice {
  std::optional<std::string> name, timestep_spacing, prediction_type;
  std::optional<double> eta;
  std::optional<std::string> sigma_schedule;  // default | karras | exponential | beta | lu_lambdas
  std::optional<bool> zero_snr;
};

// A scheduler ready to run: which row, with which config.
struct Scheduler {
  const SchedulerRow* row;
  SchedulerConfig config;

  // The model's own, or the one that was chosen, with the other choices applied. Throws Error(usage) for unknown names
  // and for flags that the class does not have, Error(input) for what the file says and is not supported.
  static Scheduler choose(const Config& file, const SchedulerChoice& choice,
                          Corrections corrections = Corrections::stable_diffusion);

  bool has(const std::string& key) const { return config.keys.contains(key); }
  Grid grid(int steps) const;
  Sampler sampler() const { return row->sampler(config); }
};

}  // namespace sdgen
