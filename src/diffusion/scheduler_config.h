// scheduler_config.json -> SchedulerConfig, by the rules of diffusers' from_config.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/types.h"
#include "io/json.h"
#include "schedulers/classes.h"
#include "sdgen/error.h"

namespace sdgen {

// Which noise levels flow models visit.
struct FlowConfig {
  double shift = 1;                           // towards 1: shift, of the solvers' classes flow_shift
  bool dynamic = false;                       // use_dynamic_shifting: the shift is e^mu, mu linear in the tokens
  bool linear = false;                        // time_shift_type: it is mu itself
  double base_shift = 0.5, max_shift = 1.15;  // mu of base_image_seq_len and max_image_seq_len tokens
  std::int64_t base_tokens = 256, max_tokens = 4096;
  double terminal = 0;      // shift_terminal: the last level before 0; 0: as it comes
  bool inverted = false;    // invert_sigmas
  bool stochastic = false;  // stochastic_sampling
};

// The keys of all scheduler classes together; a class leaves those that it does not have at these defaults.
struct SchedulerConfig {
  std::string who;  // the file, for errors
  const SchedulerClass* type = nullptr;
  Json keys;  // all that the class has, as they count
  int train_steps = 1000;
  double beta_start = 1e-4, beta_end = 0.02;
  std::string beta_schedule = "linear";
  std::vector<double> trained_betas;
  bool zero_snr = false;  // rescale_betas_zero_snr
  Prediction prediction = Prediction::epsilon;
  Spacing spacing = Spacing::linspace;
  int steps_offset = 0;
  SigmaSchedule sigmas = SigmaSchedule::standard;
  std::optional<double> sigma_min, sigma_max;  // ends of the karras, exponential and beta schedules
  bool log_linear = false;                     // interpolation_type
  bool continuous = false;                     // timestep_type
  bool final_sigma_zero = true;                // final_sigmas_type
  double lambda_min_clipped = -std::numeric_limits<double>::infinity();
  int original_inference_steps = 50;
  double timestep_scaling = 10;
  bool set_alpha_to_one = true;
  bool clip_sample = false;
  double clip_sample_range = 1.0;
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995, sample_max_value = 1.0;
  bool skip_prk_steps = true;
  std::string variance_type, algorithm_type, solver_type;
  int solver_order = 2;
  bool lower_order_final = true, euler_at_final = false;
  bool predict_x0 = true;
  std::vector<std::int64_t> disable_corrector;
  FlowConfig flow;
  double eta = 0;       // of the request, not of the file
  double strength = 1;  // likewise: the share of the distilled steps, from clean on, of which a subset is taken
};

// Throws Error(input) for a class that is not supported.
const SchedulerClass& class_of(const Config& file);

// Is it the config of a model that predicts a flow?
bool is_flow(const Config& file);

// What a pipeline changes in the scheduler config that its folder has: nothing, or as the Stable Diffusion pipelines
// do, steps_offset to 1 and clip_sample to false; for inpainting skip_prk_steps to true as well.
enum class PipelineQuirks { none, stable_diffusion, inpainting };

// The model's own scheduler as its pipeline runs it; `options` (keys of the class) win. Throws Error(input) for
// unsupported classes and values.
SchedulerConfig own_scheduler(const Config& file, const Json& options, PipelineQuirks quirks);

// type.from_config(the pipeline's scheduler config, **options): takes the keys that the file states and the class
// has, corrected as above; its own class's defaults otherwise.
SchedulerConfig assigned_scheduler(const Config& file, const SchedulerClass& type, const Json& options,
                                   PipelineQuirks quirks);

const char* prediction_name(Prediction prediction);
const char* spacing_name(Spacing spacing);
const char* sigma_schedule_name(SigmaSchedule schedule);
// Does the class, on a flow or not, have these sigmas?
bool has_schedule(const SchedulerClass& type, SigmaSchedule schedule, bool flow);
Prediction prediction_from(const std::string& name, Fault fault, const std::string& who);
Spacing spacing_from(const std::string& name, Fault fault, const std::string& who);
SigmaSchedule sigma_schedule_from(const std::string& name, const std::string& who);
// The config keys that --sigma-schedule sets: at most one of use_*_sigmas is true.
Json sigma_schedule_keys(SigmaSchedule wanted);

}  // namespace sdgen
