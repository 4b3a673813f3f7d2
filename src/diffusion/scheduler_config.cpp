#include "diffusion/scheduler_config.h"

#include <limits>
#include <map>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// Constructor defaults of the diffusers 0.42.1 classes. A key that a class does not list is one that it does not have.
const std::map<std::string, Json>& class_defaults() {
  static const std::map<std::string, Json> table = [] {
    const Json common = {
        {"num_train_timesteps", 1000}, {"beta_start", 1e-4},           {"beta_end", 0.02}, {"beta_schedule", "linear"},
        {"trained_betas", nullptr},    {"prediction_type", "epsilon"}, {"steps_offset", 0}};
    const Json limits = {{"thresholding", false}, {"dynamic_thresholding_ratio", 0.995}, {"sample_max_value", 1.0}};
    const Json clipping = {{"clip_sample", true}, {"clip_sample_range", 1.0}};
    const Json sigmas = {{"use_karras_sigmas", false},
                         {"use_exponential_sigmas", false},
                         {"use_beta_sigmas", false},
                         {"final_sigmas_type", "zero"}};
    const auto merge = [&common](std::initializer_list<Json> parts) {
      Json all = common;
      for (const Json& part : parts) all.update(part);
      return all;
    };
    return std::map<std::string, Json>{
        {"DDPMScheduler",
         merge(
             {limits,
              clipping,
              {{"variance_type", "fixed_small"}, {"timestep_spacing", "leading"}, {"rescale_betas_zero_snr", false}}})},
        {"DDIMScheduler",
         merge({limits,
                clipping,
                {{"set_alpha_to_one", true}, {"timestep_spacing", "leading"}, {"rescale_betas_zero_snr", false}}})},
        {"PNDMScheduler",
         merge({{{"skip_prk_steps", false}, {"set_alpha_to_one", false}, {"timestep_spacing", "leading"}}})},
        {"EulerDiscreteScheduler", merge({sigmas,
                                          {{"interpolation_type", "linear"},
                                           {"sigma_min", nullptr},
                                           {"sigma_max", nullptr},
                                           {"timestep_spacing", "linspace"},
                                           {"timestep_type", "discrete"},
                                           {"rescale_betas_zero_snr", false}}})},
        {"DPMSolverMultistepScheduler", merge({sigmas,
                                               limits,
                                               {{"solver_order", 2},
                                                {"algorithm_type", "dpmsolver++"},
                                                {"solver_type", "midpoint"},
                                                {"lower_order_final", true},
                                                {"euler_at_final", false},
                                                {"use_lu_lambdas", false},
                                                {"use_flow_sigmas", false},
                                                {"flow_shift", 1.0},
                                                {"lambda_min_clipped", nullptr},
                                                {"variance_type", nullptr},
                                                {"timestep_spacing", "linspace"},
                                                {"rescale_betas_zero_snr", false},
                                                {"use_dynamic_shifting", false},
                                                {"time_shift_type", "exponential"}}})},
    };
  }();
  return table;
}

const Json& defaults_of(const std::string& class_name, const std::string& who) {
  const auto found = class_defaults().find(class_name);
  if (found != class_defaults().end()) return found->second;
  std::string known;
  for (const auto& [name, defaults] : class_defaults()) known += (known.empty() ? "" : ", ") + name;
  throw Error(Fault::input, concat(who, ": scheduler class '", class_name, "' is not supported (", known,
                                   " are); choose one with --scheduler"));
}

// What the pipelines' constructors do to the scheduler config that a folder has, whatever its class.
void correct(Json& config, Corrections corrections) {
  if (corrections == Corrections::none) return;
  if (config.contains("steps_offset")) config["steps_offset"] = 1;
  if (config.value("clip_sample", Json(false)) == true) config["clip_sample"] = false;
}

SchedulerConfig parse(const std::string& class_name, Json json, const std::string& who) {
  const Config c(std::move(json), who);
  for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas",
                          "use_flow_sigmas", "use_dynamic_shifting"})
    c.require(key, false);
  c.require("interpolation_type", "linear");
  c.require("timestep_type", "discrete");
  for (const char* key : {"sigma_min", "sigma_max"}) c.require(key, nullptr);

  SchedulerConfig s;
  s.who = who;
  s.class_name = class_name;
  const std::int64_t train_steps = c.integer("num_train_timesteps", s.train_steps);
  if (train_steps < 1 || train_steps > 1'000'000) c.unsupported("num_train_timesteps", "expected 1 to 1000000");
  s.train_steps = static_cast<int>(train_steps);
  s.beta_start = c.number("beta_start", s.beta_start);
  s.beta_end = c.number("beta_end", s.beta_end);
  s.beta_schedule = c.string("beta_schedule", s.beta_schedule);
  s.trained_betas = c.numbers("trained_betas");
  s.zero_snr = c.boolean("rescale_betas_zero_snr", false);
  s.prediction = prediction_from(c.string("prediction_type", "epsilon"), Fault::input, who);
  s.spacing = spacing_from(c.string("timestep_spacing", "leading"), Fault::input, who);
  const std::int64_t offset = c.integer("steps_offset", 0), order = c.integer("solver_order", 2);
  if (offset < 0 || offset >= train_steps) c.unsupported("steps_offset", "outside the timesteps");
  if (order < 1 || order > 100) c.unsupported("solver_order", "expected a small positive number");
  s.steps_offset = static_cast<int>(offset);
  s.solver_order = static_cast<int>(order);
  s.set_alpha_to_one = c.boolean("set_alpha_to_one", true);
  s.clip_sample = c.boolean("clip_sample", false);
  s.clip_sample_range = c.number("clip_sample_range", 1.0);
  s.thresholding = c.boolean("thresholding", false);
  s.dynamic_thresholding_ratio = c.number("dynamic_thresholding_ratio", 0.995);
  s.sample_max_value = c.number("sample_max_value", 1.0);
  if (!(s.dynamic_thresholding_ratio >= 0 && s.dynamic_thresholding_ratio <= 1))
    c.unsupported("dynamic_thresholding_ratio", "expected 0 to 1");
  s.skip_prk_steps = c.boolean("skip_prk_steps", true);
  s.variance_type = c.string("variance_type", "");
  s.algorithm_type = c.string("algorithm_type", "");
  s.solver_type = c.string("solver_type", "");
  s.lower_order_final = c.boolean("lower_order_final", true);
  s.euler_at_final = c.boolean("euler_at_final", false);
  const std::string last = c.string("final_sigmas_type", "zero");
  if (last != "zero" && last != "sigma_min") c.unsupported("final_sigmas_type", "zero or sigma_min");
  s.final_sigma_zero = last == "zero";
  s.lambda_min_clipped = c.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
  return s;
}

}  // namespace

bool scheduler_has(const std::string& class_name, const std::string& key) {
  const auto found = class_defaults().find(class_name);
  return found != class_defaults().end() && found->second.contains(key);
}

SchedulerConfig own_scheduler(const Config& file, Corrections corrections) {
  const std::string class_name = file.string("_class_name", "PNDMScheduler");
  Json config = defaults_of(class_name, file.who());
  for (const auto& [key, value] : file.json().items())
    if (config.contains(key)) config[key] = value;
  correct(config, corrections);
  return parse(class_name, std::move(config), file.who());
}

SchedulerConfig assigned_scheduler(const Config& file, const std::string& class_name, const Json& options,
                                   Corrections corrections) {
  Json config = defaults_of(class_name, file.who()), stated = file.json();
  correct(stated, corrections);
  stated.update(options);
  for (const auto& [key, value] : stated.items())
    if (config.contains(key)) config[key] = value;
  return parse(class_name, std::move(config), file.who());
}

namespace {

template <class E, std::size_t N>
E from_name(const std::pair<const char*, E> (&names)[N], const std::string& name, const char* what, Fault fault,
            const std::string& who) {
  std::string known;
  for (const auto& [spelling, value] : names) {
    if (name == spelling) return value;
    known += (known.empty() ? "" : ", ") + std::string(spelling);
  }
  throw Error(fault, concat(who, ": ", what, " '", name, "' is not one of ", known));
}

constexpr std::pair<const char*, Prediction> kPredictions[] = {
    {"epsilon", Prediction::epsilon}, {"v_prediction", Prediction::v}, {"sample", Prediction::sample}};
constexpr std::pair<const char*, Spacing> kSpacings[] = {
    {"leading", Spacing::leading}, {"linspace", Spacing::linspace}, {"trailing", Spacing::trailing}};

}  // namespace

const char* prediction_name(Prediction prediction) { return kPredictions[static_cast<int>(prediction)].first; }
const char* spacing_name(Spacing spacing) { return kSpacings[static_cast<int>(spacing)].first; }

Prediction prediction_from(const std::string& name, Fault fault, const std::string& who) {
  return from_name(kPredictions, name, "prediction_type", fault, who);
}

Spacing spacing_from(const std::string& name, Fault fault, const std::string& who) {
  return from_name(kSpacings, name, "timestep_spacing", fault, who);
}

}  // namespace sdgen
