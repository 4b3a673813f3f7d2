// rows.inc, read without torch: help and the command line do not wait for it.
#include <algorithm>
#include <initializer_list>

#include "io/text.h"
#include "schedulers/classes.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Keys with the same defaults in several classes.
Json keys(std::initializer_list<Json> groups, const Json& more) {
  Json all{{"num_train_timesteps", 1000}, {"beta_start", 1e-4},       {"beta_end", 0.02},
           {"beta_schedule", "linear"},   {"trained_betas", nullptr}, {"prediction_type", "epsilon"}};
  for (const Json& group : groups) all.update(group);
  if (!more.empty()) all.update(more);
  return all;
}

// Of the classes that are for flows alone.
Json flow_keys(std::initializer_list<Json> groups, const Json& more) {
  Json all{{"num_train_timesteps", 1000}, {"shift", 1.0}};
  for (const Json& group : groups) all.update(group);
  if (!more.empty()) all.update(more);
  return all;
}

std::vector<SchedulerClass> classes() {
  const Json spacing{{"timestep_spacing", "linspace"}, {"steps_offset", 0}},
      zero_snr{{"rescale_betas_zero_snr", false}},
      limits{{"thresholding", false}, {"dynamic_thresholding_ratio", 0.995}, {"sample_max_value", 1.0}},
      clipping{{"clip_sample", true}, {"clip_sample_range", 1.0}},
      sigmas{{"use_karras_sigmas", false}, {"use_exponential_sigmas", false}, {"use_beta_sigmas", false}},
      range{{"sigma_min", nullptr}, {"sigma_max", nullptr}}, final_sigma{{"final_sigmas_type", "zero"}},
      solver{{"solver_order", 2}, {"lower_order_final", true},     {"use_flow_sigmas", false},
             {"flow_shift", 1.0}, {"use_dynamic_shifting", false}, {"time_shift_type", "exponential"}},
      dpm{{"algorithm_type", "dpmsolver++"},
          {"solver_type", "midpoint"},
          {"lambda_min_clipped", nullptr},
          {"variance_type", nullptr}},
      shifts{{"use_dynamic_shifting", false},
             {"base_shift", 0.5},
             {"max_shift", 1.15},
             {"base_image_seq_len", 256},
             {"max_image_seq_len", 4096},
             {"invert_sigmas", false},
             {"shift_terminal", nullptr},
             {"time_shift_type", "exponential"}},
      distilled{{"beta_start", 0.00085},
                {"beta_end", 0.012},
                {"beta_schedule", "scaled_linear"},
                {"clip_sample", false},
                {"timestep_spacing", "leading"},
                {"set_alpha_to_one", true},
                {"original_inference_steps", 50},
                {"timestep_scaling", 10.0}};
#define SCHEDULER(...)
#define SCHEDULER_CLASS(...) {__VA_ARGS__},
  return {
#include "schedulers/rows.inc"
  };
#undef SCHEDULER_CLASS
#undef SCHEDULER
}

// Order, calls, stochastic or not, paper.
std::string summary_of(const SchedulerInfo& info, bool distilled) {
  std::string text = distilled || info.order == 0 ? "for distilled models" : concat("order ", info.order);
  if (!info.of_order.empty()) text += concat(" (", info.of_order, ")");
  text += concat(", ", info.calls, info.calls == 1 ? " call a step" : " calls a step");
  if (info.more_calls > 0) text += concat(" and ", info.more_calls, " more");
  if (!info.note.empty()) text += ", " + info.note;
  text += info.stochastic ? ", stochastic" : info.takes_eta() ? ", deterministic unless eta > 0" : ", deterministic";
  return text + " (" + info.paper + ")";
}

// For which models.
std::string models_of(const SchedulerInfo& info) {
  if (!info.on_flow.empty()) return "diffusion, flow as " + info.on_flow;
  return info.diffusion && info.flow ? "diffusion, flow" : info.flow ? "flow" : "diffusion";
}

std::vector<SchedulerInfo> infos() {
#define SCHEDULER_CLASS(...)
#define SCHEDULER(grid, sampler, ...) {__VA_ARGS__},
  std::vector<SchedulerInfo> rows = {
#include "schedulers/rows.inc"
  };
#undef SCHEDULER
#undef SCHEDULER_CLASS
  for (SchedulerInfo& info : rows) {
    const SchedulerClass* type = scheduler_class(info.diffusers_class);
    if (type == nullptr) throw std::logic_error("rows.inc: " + info.name + " has a class that has no row");
    const bool distilled = type->has("original_inference_steps");  // their subset of those steps is what they visit
    info.eta_key = type->eta_key;
    info.sigma_schedules = type->has("use_karras_sigmas");
    info.spacings = type->has("timestep_spacing") && !distilled;
    info.zero_snr = type->has("rescale_betas_zero_snr");
    info.predicts_sample = type->predicts_sample;
    info.diffusion = type->serves_diffusion();
    info.flow = type->serves_flow();
    info.models = models_of(info);
    info.summary = summary_of(info, distilled);
  }
  return rows;
}

}  // namespace

const std::vector<SchedulerClass>& scheduler_classes() {
  static const std::vector<SchedulerClass> all = classes();
  return all;
}

const SchedulerClass* scheduler_class(std::string_view name) {
  const auto found = std::ranges::find(scheduler_classes(), name, &SchedulerClass::name);
  return found == scheduler_classes().end() ? nullptr : &*found;
}

const std::vector<SchedulerInfo>& scheduler_infos() {
  static const std::vector<SchedulerInfo> all = infos();
  return all;
}

const SchedulerInfo* scheduler_info(std::string_view name) {
  const auto found = std::ranges::find(scheduler_infos(), name, &SchedulerInfo::name);
  return found == scheduler_infos().end() ? nullptr : &*found;
}

namespace {

template <class Wanted>
std::string names_of(Wanted wanted) {
  std::vector<std::string> names;
  for (const SchedulerInfo& info : scheduler_infos())
    if (wanted(info)) names.push_back(info.name);
  return joined(names);
}

}  // namespace

std::string schedulers_with_eta() {
  return names_of([](const SchedulerInfo& info) { return info.takes_eta(); });
}

std::string schedulers_for(bool flow) {
  return names_of(
      [flow](const SchedulerInfo& info) { return flow ? info.flow || !info.on_flow.empty() : info.diffusion; });
}

}  // namespace sdgen
