#include "diffusion/scheduler_config.h"

#include <algorithm>
#include <initializer_list>
#include <map>

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Constructor defaults of the diffusers 0.42.1 classes. A key that a class does not list is one that it does not have.
// The groups in "+" are merged in; what follows them wins.
constexpr const char* kDefaults = R"json({
"betas": {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear",
          "trained_betas": null, "prediction_type": "epsilon", "steps_offset": 0, "timestep_spacing": "linspace"},
"zero_snr": {"rescale_betas_zero_snr": false},
"limits": {"thresholding": false, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0},
"clipping": {"clip_sample": true, "clip_sample_range": 1.0},
"sigmas": {"use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false},
"range": {"sigma_min": null, "sigma_max": null},
"final": {"final_sigmas_type": "zero"},
"solver": {"solver_order": 2, "lower_order_final": true, "use_flow_sigmas": false, "flow_shift": 1.0,
           "use_dynamic_shifting": false, "time_shift_type": "exponential"},
"dpm": {"algorithm_type": "dpmsolver++", "solver_type": "midpoint", "lambda_min_clipped": null, "variance_type": null},
"distilled": {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": false,
              "timestep_spacing": "leading", "set_alpha_to_one": true, "original_inference_steps": 50,
              "timestep_scaling": 10.0},
"DDPMScheduler": {"+": ["zero_snr", "limits", "clipping"], "variance_type": "fixed_small",
                  "timestep_spacing": "leading"},
"DDIMScheduler": {"+": ["zero_snr", "limits", "clipping"], "set_alpha_to_one": true, "timestep_spacing": "leading"},
"PNDMScheduler": {"+": [], "skip_prk_steps": false, "set_alpha_to_one": false, "timestep_spacing": "leading"},
"EulerDiscreteScheduler": {"+": ["zero_snr", "sigmas", "range", "final"], "interpolation_type": "linear",
                           "timestep_type": "discrete"},
"EulerAncestralDiscreteScheduler": {"+": ["zero_snr"]},
"HeunDiscreteScheduler": {"+": ["sigmas", "clipping"], "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": false},
"LMSDiscreteScheduler": {"+": ["sigmas"]},
"KDPM2DiscreteScheduler": {"+": ["sigmas"], "beta_start": 0.00085, "beta_end": 0.012},
"KDPM2AncestralDiscreteScheduler": {"+": ["sigmas"], "beta_start": 0.00085, "beta_end": 0.012},
"DPMSolverMultistepScheduler": {"+": ["zero_snr", "limits", "sigmas", "final", "solver", "dpm"],
                                "euler_at_final": false, "use_lu_lambdas": false},
"DPMSolverSinglestepScheduler": {"+": ["limits", "sigmas", "final", "solver", "dpm"], "lower_order_final": false},
"UniPCMultistepScheduler": {"+": ["zero_snr", "limits", "sigmas", "range", "final", "solver"], "predict_x0": true,
                            "solver_type": "bh2", "disable_corrector": [], "solver_p": null, "shift_terminal": null},
"DEISMultistepScheduler": {"+": ["limits", "sigmas", "solver"], "algorithm_type": "deis", "solver_type": "logrho"},
"LCMScheduler": {"+": ["zero_snr", "limits", "clipping", "distilled"]},
"TCDScheduler": {"+": ["zero_snr", "limits", "clipping", "distilled"]}
})json";

const std::map<std::string, Json>& class_defaults() {
  static const std::map<std::string, Json> table = [] {
    std::map<std::string, Json> classes;
    const Json text = Json::parse(kDefaults);
    for (const auto& [name, keys] : text.items()) {
      if (!keys.contains("+")) continue;
      Json all = text.at("betas");
      for (const Json& group : keys.at("+")) all.update(text.at(group.get<std::string>()));
      all.update(keys);
      all.erase("+");
      classes[name] = std::move(all);
    }
    for (const char* key : {"timestep_spacing", "steps_offset"}) classes["DPMSolverSinglestepScheduler"].erase(key);
    return classes;
  }();
  return table;
}

const Json& defaults_of(const std::string& class_name, const std::string& who) {
  const auto found = class_defaults().find(class_name);
  if (found != class_defaults().end()) return found->second;
  std::string known;
  for (const auto& [name, defaults] : class_defaults()) known += (known.empty() ? "" : ", ") + name;
  throw Error(Fault::input, concat(who, ": scheduler class '", printable(class_name), "' is not supported (", known,
                                   " are); choose one with ", FieldName{"scheduler"}));
}

// What the pipelines' constructors do to the scheduler config that a folder has, whatever its class.
void correct(Json& config, Corrections corrections) {
  if (corrections == Corrections::none) return;
  if (config.contains("steps_offset")) config["steps_offset"] = 1;
  if (config.value("clip_sample", Json(false)) == true) config["clip_sample"] = false;
  if (corrections == Corrections::inpainting && config.contains("skip_prk_steps")) config["skip_prk_steps"] = true;
}

// The value of a key that says which variant of a method runs; other solvers' words for it mean the first of `own`.
std::string variant(const Config& c, const char* key, std::initializer_list<const char*> own,
                    std::initializer_list<const char*> foreign) {
  const std::string value = c.string(key, *own.begin());
  std::string known;
  for (const char* word : own) {
    if (value == word) return value;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  for (const char* word : foreign)
    if (value == word) return *own.begin();
  c.unsupported(key, known);
}

void parse_solver(const Config& c, SchedulerConfig& s) {
  const bool single = s.class_name == "DPMSolverSinglestepScheduler";
  if (s.class_name == "UniPCMultistepScheduler") {
    s.solver_type = variant(c, "solver_type", {"bh2", "bh1"}, {"midpoint", "heun", "logrho"});
  } else if (s.class_name == "DEISMultistepScheduler") {
    s.algorithm_type = variant(c, "algorithm_type", {"deis"}, {"dpmsolver", "dpmsolver++"});
    s.solver_type = variant(c, "solver_type", {"logrho"}, {"midpoint", "heun", "bh1", "bh2"});
    s.final_sigma_zero = false;
  } else if (single || s.class_name == "DPMSolverMultistepScheduler") {
    s.algorithm_type = single ? variant(c, "algorithm_type", {"dpmsolver++", "dpmsolver", "sde-dpmsolver++"}, {"deis"})
                              : variant(c, "algorithm_type",
                                        {"dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"}, {"deis"});
    s.solver_type = variant(c, "solver_type", {"midpoint", "heun"}, {"logrho", "bh1", "bh2"});
    if (!c.string("algorithm_type", "").ends_with("++") && s.final_sigma_zero)  // "deis" too
      c.unsupported("final_sigmas_type", concat("algorithm_type ", s.algorithm_type, " needs sigma_min"));
    if (s.algorithm_type == "sde-dpmsolver" && s.solver_order > 2) c.unsupported("solver_order", "sde-dpmsolver: 1, 2");
    if (single && s.solver_order > 3) c.unsupported("solver_order", "1, 2, 3");
    if (s.variance_type.starts_with("learned")) c.unsupported("variance_type", "networks that predict no variance");
    s.keys["algorithm_type"] = s.algorithm_type;
  }
}

SchedulerConfig parse(const std::string& class_name, Json json, const std::string& who) {
  const Config c(json, who);
  for (const char* key : {"use_flow_sigmas", "use_dynamic_shifting"}) c.require(key, false);
  for (const char* key : {"solver_p", "shift_terminal"}) c.require(key, nullptr);

  SchedulerConfig s;
  s.who = who;
  s.class_name = class_name;
  s.keys = std::move(json);
  const auto whole = [&c](const char* key, int fallback, std::int64_t least, std::int64_t most) {
    const std::int64_t value = c.integer(key, fallback);
    if (value < least || value > most) c.unsupported(key, concat("expected ", least, " to ", most));
    return static_cast<int>(value);
  };
  s.train_steps = whole("num_train_timesteps", s.train_steps, 1, 1'000'000);
  const auto real = [&c](const char* key, double fallback, double least, double most) {
    const double value = c.number(key, fallback);
    if (c.has(key) && !(value >= least && value <= most)) c.unsupported(key, concat("expected ", least, " to ", most));
    return value;
  };
  s.beta_start = real("beta_start", s.beta_start, 0, 1);  // beyond, alphas are no longer between 0 and 1
  s.beta_end = real("beta_end", s.beta_end, 0, 1);
  s.beta_schedule = c.string("beta_schedule", s.beta_schedule);
  s.trained_betas = c.numbers("trained_betas");
  if (const auto given = std::int64_t(s.trained_betas.size()); given > 0 && given < s.train_steps)
    c.unsupported("trained_betas", concat(given, " of them for ", s.train_steps, " training timesteps"));
  s.zero_snr = c.boolean("rescale_betas_zero_snr", false);
  s.finite_snr = s.keys.contains("solver_order") || class_name.starts_with("Euler");
  s.prediction = prediction_from(c.string("prediction_type", "epsilon"), Fault::input, who);
  s.spacing = spacing_from(c.string("timestep_spacing", "linspace"), Fault::input, who);
  s.steps_offset = whole("steps_offset", 0, 0, s.train_steps - 1);
  for (SigmaSchedule each :
       {SigmaSchedule::beta, SigmaSchedule::exponential, SigmaSchedule::lu, SigmaSchedule::karras}) {
    const std::string key = concat("use_", sigma_schedule_name(each), each == SigmaSchedule::lu ? "" : "_sigmas");
    if (!c.boolean(key, false)) continue;
    if (s.sigmas != SigmaSchedule::standard && s.sigmas != SigmaSchedule::lu && each != SigmaSchedule::lu)
      c.unsupported(key,
                    concat("only one sigma schedule can be, and use_", sigma_schedule_name(s.sigmas), "_sigmas is"));
    s.sigmas = each;
  }
  if (c.has("sigma_min")) s.sigma_min = real("sigma_min", 0, 1e-6, 1e6);
  if (c.has("sigma_max")) s.sigma_max = real("sigma_max", 0, 1e-6, 1e6);
  s.log_linear = variant(c, "interpolation_type", {"linear", "log_linear"}, {}) == "log_linear";
  s.continuous = variant(c, "timestep_type", {"discrete", "continuous"}, {}) == "continuous";
  s.final_sigma_zero = variant(c, "final_sigmas_type", {"zero", "sigma_min"}, {}) == "zero";
  s.lambda_min_clipped = c.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
  s.original_inference_steps = whole("original_inference_steps", std::min(50, s.train_steps), 1, s.train_steps);
  s.timestep_scaling = c.number("timestep_scaling", s.timestep_scaling);
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
  s.solver_order = whole("solver_order", 2, 1, 100);
  s.lower_order_final = c.boolean("lower_order_final", true);
  s.euler_at_final = c.boolean("euler_at_final", false);
  s.predict_x0 = c.boolean("predict_x0", true);
  s.disable_corrector = c.integers("disable_corrector");
  parse_solver(c, s);
  return s;
}

}  // namespace

bool scheduler_has(const std::string& class_name, const std::string& key) {
  const auto found = class_defaults().find(class_name);
  return found != class_defaults().end() && found->second.contains(key);
}

SchedulerConfig own_scheduler(const Config& file, const Json& options, Corrections corrections) {
  const std::string class_name = file.string("_class_name", "PNDMScheduler");
  Json config = defaults_of(class_name, file.who());
  for (const auto& [key, value] : file.json().items())
    if (config.contains(key)) config[key] = value;
  correct(config, corrections);
  config.update(options);
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
constexpr std::pair<const char*, SigmaSchedule> kSigmaSchedules[] = {{"default", SigmaSchedule::standard},
                                                                     {"karras", SigmaSchedule::karras},
                                                                     {"exponential", SigmaSchedule::exponential},
                                                                     {"beta", SigmaSchedule::beta},
                                                                     {"lu_lambdas", SigmaSchedule::lu}};

}  // namespace

const char* prediction_name(Prediction prediction) { return kPredictions[static_cast<int>(prediction)].first; }
const char* spacing_name(Spacing spacing) { return kSpacings[static_cast<int>(spacing)].first; }
const char* sigma_schedule_name(SigmaSchedule schedule) { return kSigmaSchedules[static_cast<int>(schedule)].first; }

Prediction prediction_from(const std::string& name, Fault fault, const std::string& who) {
  return from_name(kPredictions, name, "prediction_type", fault, who);
}

Spacing spacing_from(const std::string& name, Fault fault, const std::string& who) {
  return from_name(kSpacings, name, "timestep_spacing", fault, who);
}

Json sigma_schedule_keys(const std::string& name, const std::string& who) {
  const SigmaSchedule wanted = from_name(kSigmaSchedules, name, "sigma schedule", Fault::usage, who);
  return {{"use_karras_sigmas", wanted == SigmaSchedule::karras},
          {"use_exponential_sigmas", wanted == SigmaSchedule::exponential},
          {"use_beta_sigmas", wanted == SigmaSchedule::beta},
          {"use_lu_lambdas", wanted == SigmaSchedule::lu}};
}

}  // namespace sdgen
