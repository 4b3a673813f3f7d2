// scheduler_config.json -> SchedulerConfig, by the rules of diffusers' from_config.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "diffusion/types.h"
#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen {

// The keys of all scheduler classes together; a class leaves those that it does not have at these defaults.
struct SchedulerConfig {
  std::string who;  // the file, for errors
  std::string class_name;
  int train_steps = 1000;
  double beta_start = 1e-4, beta_end = 0.02;
  std::string beta_schedule = "linear";
  std::vector<double> trained_betas;
  bool zero_snr = false;  // rescale_betas_zero_snr
  Prediction prediction = Prediction::epsilon;
  Spacing spacing = Spacing::leading;
  int steps_offset = 0;
  bool set_alpha_to_one = true;
  bool clip_sample = false;
  double clip_sample_range = 1.0;
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995, sample_max_value = 1.0;
  bool skip_prk_steps = true;
  std::string variance_type;
  int solver_order = 2;
  std::string algorithm_type, solver_type;
  bool lower_order_final = true, euler_at_final = false;
  bool final_sigma_zero = true;  // final_sigmas_type
  double lambda_min_clipped = -std::numeric_limits<double>::infinity();
};

// Does diffusers' class of this name have that key?
bool scheduler_has(const std::string& class_name, const std::string& key);

// What a pipeline changes in the scheduler config that its folder has: nothing, or as the Stable Diffusion pipelines
// do, steps_offset to 1 and clip_sample to false.
enum class Corrections { none, stable_diffusion };

// The model's own scheduler as its pipeline runs it. Throws Error(input) for unknown classes and unsupported values.
SchedulerConfig own_scheduler(const Config& file, Corrections corrections);

// class_name.from_config(the pipeline's scheduler config, **options): takes the keys that the file states and the class
// has, corrected as above; its own class's defaults otherwise.
SchedulerConfig assigned_scheduler(const Config& file, const std::string& class_name, const Json& options,
                                   Corrections corrections);

const char* prediction_name(Prediction prediction);
const char* spacing_name(Spacing spacing);
Prediction prediction_from(const std::string& name, Fault fault, const std::string& who);
Spacing spacing_from(const std::string& name, Fault fault, const std::string& who);

}  // namespace sdgen
