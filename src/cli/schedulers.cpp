#include "cli/schedulers.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

std::string folded(std::string_view name) {
  std::string result;
  for (const unsigned char c : name) {
    if (c != ' ' && c != '-' && c != '_') result += static_cast<char>(std::tolower(c));
  }
  if (result.starts_with("dpmpp")) result.replace(0, 5, "dpm++");
  return result;
}

bool is_called(const SchedulerInfo& info, const std::string& wanted) {
  return folded(info.name) == wanted || (!info.a1111.empty() && folded(info.a1111) == wanted) ||
         (!info.comfyui.empty() && folded(info.comfyui) == wanted);
}

// diffusers' class, with or without "Scheduler"; of several schedulers that are of one class the first row's.
bool is_class(const SchedulerInfo& info, const std::string& wanted) {
  const std::string name = folded(info.diffusers_class);
  return name == wanted || name == wanted + "scheduler";
}

// A slip of the pen is near in letters and has the same numbers: "dpm++3m" is another sampler than "dpm++2m".
std::string meant_by(const std::string& wanted) {
  const auto numbers = [](std::string_view name) {
    std::string found;
    for (const char c : name)
      if (c >= '0' && c <= '9') found += c;
    return found;
  };
  std::vector<std::string> names;
  for (const SchedulerInfo& info : scheduler_infos())
    for (const std::string* name : {&info.name, &info.a1111, &info.comfyui})
      if (!name->empty() && numbers(folded(*name)) == numbers(wanted)) names.push_back(folded(*name));
  const std::string near = nearest(wanted, names, /*most=*/wanted.size() < 8 ? 1 : 2);
  for (const SchedulerInfo& info : scheduler_infos())
    if (!near.empty() && is_called(info, near)) return concat("; did you mean ", info.name, "?");
  return "";
}

// Names of modules/sd_schedulers.py of stable-diffusion-webui 1.10 and of ComfyUI's samplers.py. Those of timesteps are
// what the three spacings are.
constexpr ScheduleType kScheduleTypes[] = {
    {"Karras", "karras", "--sigma-schedule", "karras", &Request::sigma_schedule},
    {"Exponential", "exponential", "--sigma-schedule", "exponential", &Request::sigma_schedule},
    {"Beta", "beta", "--sigma-schedule", "beta", &Request::sigma_schedule},
    {"Uniform", "normal", "--timestep-spacing", "linspace", &Request::timestep_spacing},
    {"SGM Uniform", "sgm_uniform", "--timestep-spacing", "trailing", &Request::timestep_spacing},
    {"DDIM", "ddim_uniform", "--timestep-spacing", "leading", &Request::timestep_spacing},
};

}  // namespace

std::span<const ScheduleType> schedule_types() { return kScheduleTypes; }

void set_scheduler(Request& request, const Argument& argument) {
  std::string wanted = folded(argument.raw());
  const ScheduleType* schedule = nullptr;
  for (const ScheduleType& type : kScheduleTypes) {
    const std::string suffix = folded(type.comfyui);
    if (!wanted.ends_with(suffix)) continue;
    schedule = &type;
    wanted.resize(wanted.size() - suffix.size());
    break;
  }
  const std::string without_k = wanted.starts_with('k') ? folded(wanted.substr(1)) : wanted;
  const auto& infos = scheduler_infos();
  auto found = std::ranges::find_if(
      infos, [&](const SchedulerInfo& info) { return is_called(info, wanted) || is_called(info, without_k); });
  if (found == infos.end())
    found = std::ranges::find_if(infos, [&](const SchedulerInfo& info) { return is_class(info, wanted); });
  if (found != infos.end()) {
    request.scheduler = found->name;
    if (schedule && !(request.*schedule->field)) request.*schedule->field = schedule->value;
    return;
  }
  throw Error(Fault::usage, concat(argument.flag(), ": unknown scheduler '", printable(argument.raw(), 60), "'",
                                   meant_by(wanted), " (--list-schedulers shows all)"));
}

std::string a1111_sampler(const SchedulerInfo& scheduler) {
  for (const SchedulerInfo& info : scheduler_infos())
    if (info.on_flow == scheduler.name) return info.a1111;
  return scheduler.a1111;
}

// A1111 takes an absent schedule type for "Automatic", which is Karras with DPM++ 2M.
std::string a1111_schedule(const Request& request, const SchedulerInfo& scheduler) {
  const bool has_types = !scheduler.a1111_schedule.empty() && scheduler.a1111_schedule != "None";
  for (const ScheduleType& type : kScheduleTypes)
    if ((type.of_sigmas() || has_types) && request.*type.field == type.value) return type.a1111;
  return "";
}

std::string scheduler_list() {
  std::size_t names = 0, classes = 0, models = 0;
  for (const SchedulerInfo& info : scheduler_infos()) {
    names = std::max(names, info.name.size());
    classes = std::max(classes, info.diffusers_class.size());
    models = std::max(models, info.models.size());
  }
  std::string text;
  for (const SchedulerInfo& info : scheduler_infos()) {
    text += info.name + std::string(names - info.name.size() + 2, ' ');
    text += info.diffusers_class + std::string(classes - info.diffusers_class.size() + 2, ' ');
    text += info.models + std::string(models - info.models.size() + 2, ' ');
    text += info.summary + "\n";
  }
  return text;
}

}  // namespace sdgen::cli
