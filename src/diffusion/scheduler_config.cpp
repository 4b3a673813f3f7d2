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

int whole(const Config& c, const char* key, int fallback, std::int64_t least, std::int64_t most) {
  const std::int64_t value = c.integer(key, fallback);
  if (value < least || value > most) c.unsupported(key, concat("expected ", least, " to ", most));
  return static_cast<int>(value);
}

double real(const Config& c, const char* key, double fallback, double least, double most) {
  const double value = c.number(key, fallback);
  if (c.has(key) && !(value >= least && value <= most)) c.unsupported(key, concat("expected ", least, " to ", most));
  return value;
}

// The training: how much noise there was, and what the network learnt to say of it.
void parse_training(const Config& c, SchedulerConfig& s) {
  s.train_steps = whole(c, "num_train_timesteps", s.train_steps, 1, 1'000'000);
  s.beta_start = real(c, "beta_start", s.beta_start, 0, 1);  // beyond, alphas are no longer between 0 and 1
  s.beta_end = real(c, "beta_end", s.beta_end, 0, 1);
  s.beta_schedule = c.string("beta_schedule", s.beta_schedule);
  s.trained_betas = c.numbers("trained_betas");
  if (const auto given = std::int64_t(s.trained_betas.size()); given > 0 && given < s.train_steps)
    c.unsupported("trained_betas", concat(given, " of them for ", s.train_steps, " training timesteps"));
  s.zero_snr = c.boolean("rescale_betas_zero_snr", false);
  const char* own = s.type->has("prediction_type") ? "epsilon" : "flow_prediction";
  s.prediction = prediction_from(c.string("prediction_type", own), Fault::input, s.who);
}

// Which timesteps and sigmas a run visits.
void parse_grid(const Config& c, SchedulerConfig& s) {
  s.spacing = spacing_from(c.string("timestep_spacing", "linspace"), Fault::input, s.who);
  s.steps_offset = whole(c, "steps_offset", 0, 0, s.train_steps - 1);
  for (SigmaSchedule each :
       {SigmaSchedule::beta, SigmaSchedule::exponential, SigmaSchedule::lu, SigmaSchedule::karras}) {
    const std::string key = concat("use_", sigma_schedule_name(each), each == SigmaSchedule::lu ? "" : "_sigmas");
    if (!c.boolean(key, false)) continue;
    if (s.sigmas != SigmaSchedule::standard && s.sigmas != SigmaSchedule::lu && each != SigmaSchedule::lu)
      c.unsupported(key,
                    concat("only one sigma schedule can be, and use_", sigma_schedule_name(s.sigmas), "_sigmas is"));
    if (!has_schedule(*s.type, each, s.prediction == Prediction::flow))
      c.unsupported(key, concat(s.type->name, " has no such flow sigmas"));
    s.sigmas = each;
  }
  if (c.has("sigma_min")) s.sigma_min = real(c, "sigma_min", 0, 1e-6, 1e6);
  if (c.has("sigma_max")) s.sigma_max = real(c, "sigma_max", 0, 1e-6, 1e6);
  s.log_linear = variant(c, {"interpolation_type", {"linear", "log_linear"}, {}}) == "log_linear";
  s.continuous = variant(c, {"timestep_type", {"discrete", "continuous"}, {}}) == "continuous";
  const bool zero = variant(c, {"final_sigmas_type", {"zero", "sigma_min"}, {}}) == "zero";
  s.final_sigma_zero = zero && s.type->ends_clean;
  s.lambda_min_clipped = c.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
  s.original_inference_steps = whole(c, "original_inference_steps", std::min(50, s.train_steps), 1, s.train_steps);
  s.timestep_scaling = c.number("timestep_scaling", s.timestep_scaling);
  s.set_alpha_to_one = c.boolean("set_alpha_to_one", true);
}

void parse_flow(const Config& c, SchedulerConfig& s) {
  const bool flow = s.prediction == Prediction::flow, solver = s.type->has("use_flow_sigmas");
  if (solver && c.boolean("use_flow_sigmas", false) != flow)
    c.unsupported("use_flow_sigmas", concat("true goes with prediction_type flow_prediction, and this is ",
                                            prediction_name(s.prediction)));
  FlowConfig& f = s.flow;
  f.shift = real(c, solver ? "flow_shift" : "shift", f.shift, 1e-6, 1e6);
  f.dynamic = c.boolean("use_dynamic_shifting", false);
  f.linear = variant(c, {"time_shift_type", {"exponential", "linear"}, {}}) == "linear";
  f.base_shift = real(c, "base_shift", f.base_shift, -100, 100);
  f.max_shift = real(c, "max_shift", f.max_shift, -100, 100);
  f.base_tokens = whole(c, "base_image_seq_len", 256, 0, 1'000'000'000);
  f.max_tokens = whole(c, "max_image_seq_len", 4096, f.base_tokens + 1, 1'000'000'000);
  f.terminal = real(c, "shift_terminal", 0, 0, 0.999);
  f.inverted = c.boolean("invert_sigmas", false);
  f.stochastic = c.boolean("stochastic_sampling", false);
  c.require("scale_factors", nullptr);
  if (f.inverted && f.stochastic) c.unsupported("stochastic_sampling", "with invert_sigmas it ends in noise");
  if (!flow && f.dynamic) c.unsupported("use_dynamic_shifting", "without use_flow_sigmas");
  if (!flow && c.has("shift_terminal")) c.unsupported("shift_terminal", "without use_flow_sigmas");
  if (f.dynamic && f.linear && solver && !s.type->flow_from_noise)
    c.unsupported("time_shift_type", concat(s.type->name, " shifts exponentially"));
  if (flow && !c.boolean("predict_x0", true)) c.unsupported("predict_x0", "of a flow it is true");
  if (flow && solver)  // keys of the diffusion side
    for (const char* key : {"timestep_spacing", "rescale_betas_zero_snr"}) s.keys.erase(key);
}

// What the solvers' classes allow each other's configs to say.
void parse_solver(const Config& c, SchedulerConfig& s) {
  s.solver_order = whole(c, "solver_order", 2, 1, s.type->most_order);
  s.lower_order_final = c.boolean("lower_order_final", true);
  s.euler_at_final = c.boolean("euler_at_final", false);
  s.predict_x0 = c.boolean("predict_x0", true);
  const auto disabled = c.json().find("disable_corrector");  // empty by default
  if (disabled != c.json().end() && *disabled != Json::array()) s.disable_corrector = c.integers("disable_corrector");
  for (const SchedulerWords& words : s.type->words) {
    const std::string value = variant(c, words);
    (words.key == "algorithm_type" ? s.algorithm_type : s.solver_type) = value;
    s.keys[words.key] = value;
  }
  if (!c.string("algorithm_type", "++").ends_with("++") && s.final_sigma_zero)  // another class's word too
    c.unsupported("final_sigmas_type", concat("algorithm_type ", s.algorithm_type, " needs sigma_min"));
  if (s.algorithm_type == "sde-dpmsolver" && s.solver_order > 2) c.unsupported("solver_order", "sde-dpmsolver: 1, 2");
  if (s.variance_type.starts_with("learned")) c.unsupported("variance_type", "networks that predict no variance");
  if (s.prediction == Prediction::flow && s.algorithm_type.ends_with("dpmsolver"))
    c.unsupported("algorithm_type", "of a flow it is dpmsolver++ or sde-dpmsolver++");
  c.require("solver_p", nullptr);
}
// What is done to the predicted x0, and the variants of single methods.
void parse_step(const Config& c, SchedulerConfig& s) {
  s.clip_sample = c.boolean("clip_sample", false);
  s.clip_sample_range = c.number("clip_sample_range", 1.0);
  s.thresholding = c.boolean("thresholding", false);
  s.dynamic_thresholding_ratio = c.number("dynamic_thresholding_ratio", 0.995);
  s.sample_max_value = c.number("sample_max_value", 1.0);
  if (!(s.dynamic_thresholding_ratio >= 0 && s.dynamic_thresholding_ratio <= 1))
    c.unsupported("dynamic_thresholding_ratio", "expected 0 to 1");
  s.skip_prk_steps = c.boolean("skip_prk_steps", true);
  s.variance_type = c.string("variance_type", "");
}

SchedulerConfig parse(const SchedulerClass& type, Json json, const std::string& who) {
  const Config c(json, who);
  SchedulerConfig s;
  s.who = who;
  s.type = &type;
  s.keys = std::move(json);
  parse_training(c, s);
  parse_grid(c, s);
  parse_flow(c, s);
  parse_step(c, s);
  parse_solver(c, s);
  return s;
}

// A class that lacks these keys keeps them all the same: the pipelines of flow models read them.
void keep_tokens(Json& config, const Json& stated) {
  for (const char* key : {"base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"})
    if (stated.contains(key)) config[key] = stated[key];
}

}  // namespace

const SchedulerClass& class_of(const Config& file) {
  const std::string name = file.string("_class_name", "PNDMScheduler");
  if (const SchedulerClass* type = scheduler_class(name)) return *type;
  std::vector<std::string> known;
  for (const SchedulerClass& type : scheduler_classes()) known.push_back(type.name);
  throw Error(Fault::input, concat(file.who(), ": scheduler class '", printable(name), "' is not supported (",
                                   joined(known), " are); choose one with ", FieldName{"scheduler"}));
}

bool is_flow(const Config& file) {
  const SchedulerClass* type = scheduler_class(file.string("_class_name", "PNDMScheduler"));
  return (type && !type->serves_diffusion()) || file.string("prediction_type", "") == "flow_prediction";
}

SchedulerConfig own_scheduler(const Config& file, const Json& options, PipelineQuirks quirks) {
  const SchedulerClass& type = class_of(file);
  Json config = type.defaults;
  for (const auto& [key, value] : file.json().items())
    if (config.contains(key)) config[key] = value;
  keep_tokens(config, file.json());
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
  keep_tokens(config, stated);
  return parse(type, std::move(config), file.who());
}

namespace {

template <class E, std::size_t N>
E from_name(const std::pair<const char*, E> (&names)[N], const std::string& name, const char* what, Fault fault,
            const std::string& who) {
  std::vector<std::string> known;
  for (const auto& [spelling, value] : names) {
    if (name == spelling) return value;
    known.push_back(spelling);
  }
  throw Error(fault, concat(who, ": ", what, " '", name, "' is not one of ", joined(known)));
}

template <class E, std::size_t N>
const char* name_of(const std::pair<const char*, E> (&names)[N], E value) {
  return std::ranges::find(names, value, &std::pair<const char*, E>::second)->first;
}

constexpr std::pair<const char*, Prediction> kPredictions[] = {{"epsilon", Prediction::epsilon},
                                                               {"v_prediction", Prediction::v},
                                                               {"sample", Prediction::sample},
                                                               {"flow_prediction", Prediction::flow}};
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

bool has_schedule(const SchedulerClass& type, SigmaSchedule schedule, bool flow) {
  if (schedule == SigmaSchedule::lu) return type.has("use_lu_lambdas") && !flow;
  if (!type.has("use_karras_sigmas")) return false;
  if (schedule == SigmaSchedule::standard || !flow || !type.has("use_flow_sigmas")) return true;
  return type.flow_karras && schedule == SigmaSchedule::karras;
}

SigmaSchedule sigma_schedule_from(const std::string& name, const std::string& who) {
  return from_name(kSigmaSchedules, name, "sigma schedule", Fault::usage, who);
}

Json sigma_schedule_keys(SigmaSchedule wanted) {
  return {{"use_karras_sigmas", wanted == SigmaSchedule::karras},
          {"use_exponential_sigmas", wanted == SigmaSchedule::exponential},
          {"use_beta_sigmas", wanted == SigmaSchedule::beta},
          {"use_lu_lambdas", wanted == SigmaSchedule::lu}};
}

}  // namespace sdgen
