#include "diffusion/scheduler_config.h"

#include <algorithm>

#include "io/text.h"
#include "io/utf8.h"

namespace sdgen {
namespace {

// What the pipelines' constructors do to the scheduler config that a folder has, whatever its class.
void correct(Json& config, PipelineQuirks quirks) {
  if (quirks == PipelineQuirks::none) return;
  if (config.contains("steps_offset")) config["steps_offset"] = 1;
  if (config.value("clip_sample", Json(false)) == true) config["clip_sample"] = false;
  if (quirks == PipelineQuirks::inpainting && config.contains("skip_prk_steps")) config["skip_prk_steps"] = true;
}

// The value of a key that says which variant of a method runs.
std::string variant(const Config& c, const SchedulerWords& words) {
  const std::string value = c.string(words.key, words.own.front());
  if (std::ranges::count(words.own, value)) return value;
  if (std::ranges::count(words.foreign, value)) return words.own.front();
  c.unsupported(words.key, joined(words.own));
}

// What the solvers' classes allow each other's configs to say.
void parse_solver(const Config& c, SchedulerConfig& s) {
  for (const SchedulerWords& words : s.type->words) {
    const std::string value = variant(c, words);
    (words.key == "algorithm_type" ? s.algorithm_type : s.solver_type) = value;
    s.keys[words.key] = value;
  }
  if (!c.string("algorithm_type", "++").ends_with("++") && s.final_sigma_zero)  // another class's word too
    c.unsupported("final_sigmas_type", concat("algorithm_type ", s.algorithm_type, " needs sigma_min"));
  if (s.algorithm_type == "sde-dpmsolver" && s.solver_order > 2) c.unsupported("solver_order", "sde-dpmsolver: 1, 2");
  if (s.variance_type.starts_with("learned")) c.unsupported("variance_type", "networks that predict no variance");
}

SchedulerConfig parse(const SchedulerClass& type, Json json, const std::string& who) {
  const Config c(json, who);
  for (const char* key : {"use_flow_sigmas", "use_dynamic_shifting"}) c.require(key, false);
  for (const char* key : {"solver_p", "shift_terminal"}) c.require(key, nullptr);

  SchedulerConfig s;
  s.who = who;
  s.type = &type;
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
  s.log_linear = variant(c, {"interpolation_type", {"linear", "log_linear"}, {}}) == "log_linear";
  s.continuous = variant(c, {"timestep_type", {"discrete", "continuous"}, {}}) == "continuous";
  s.final_sigma_zero = variant(c, {"final_sigmas_type", {"zero", "sigma_min"}, {}}) == "zero" && type.ends_clean;
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
  s.solver_order = whole("solver_order", 2, 1, type.most_order);
  s.lower_order_final = c.boolean("lower_order_final", true);
  s.euler_at_final = c.boolean("euler_at_final", false);
  s.predict_x0 = c.boolean("predict_x0", true);
  s.disable_corrector = c.integers("disable_corrector");
  parse_solver(c, s);
  return s;
}

}  // namespace

const SchedulerClass& class_of(const Config& file) {
  const std::string name = file.string("_class_name", "PNDMScheduler");
  if (const SchedulerClass* type = scheduler_class(name)) return *type;
  std::string known;
  for (const SchedulerClass& type : scheduler_classes()) known += (known.empty() ? "" : ", ") + type.name;
  throw Error(Fault::input, concat(file.who(), ": scheduler class '", printable(name), "' is not supported (", known,
                                   " are); choose one with ", FieldName{"scheduler"}));
}

SchedulerConfig own_scheduler(const Config& file, const Json& options, PipelineQuirks quirks) {
  const SchedulerClass& type = class_of(file);
  Json config = type.defaults;
  for (const auto& [key, value] : file.json().items())
    if (config.contains(key)) config[key] = value;
  correct(config, quirks);
  config.update(options);
  return parse(type, std::move(config), file.who());
}

SchedulerConfig assigned_scheduler(const Config& file, const SchedulerClass& type, const Json& options,
                                   PipelineQuirks quirks) {
  Json config = type.defaults, stated = file.json();
  correct(stated, quirks);
  stated.update(options);
  for (const auto& [key, value] : stated.items())
    if (config.contains(key)) config[key] = value;
  return parse(type, std::move(config), file.who());
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

template <class E, std::size_t N>
const char* name_of(const std::pair<const char*, E> (&names)[N], E value) {
  return std::ranges::find(names, value, &std::pair<const char*, E>::second)->first;
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

const char* prediction_name(Prediction prediction) { return name_of(kPredictions, prediction); }
const char* spacing_name(Spacing spacing) { return name_of(kSpacings, spacing); }
const char* sigma_schedule_name(SigmaSchedule schedule) { return name_of(kSigmaSchedules, schedule); }

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
