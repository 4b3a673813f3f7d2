#include "cli/schedulers.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
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
  return result;
}

}  // namespace

void set_scheduler(Request& request, const Argument& argument, std::span<const SchedulerInfo> known) {
  std::string wanted = folded(argument.raw());
  std::optional<std::string> schedule;
  for (const char* suffix : {"karras", "exponential", "beta"})
    if (wanted.ends_with(suffix)) schedule = suffix, wanted.resize(wanted.size() - std::strlen(suffix));
  if (wanted.starts_with("dpmpp")) wanted.replace(0, 5, "dpm++");
  std::vector<std::string> names;
  for (const SchedulerInfo& info : known) {
    names.push_back(info.name);
    if (folded(info.name) != wanted && "k" + folded(info.name) != wanted) continue;
    request.scheduler = info.name;
    if (schedule && !request.sigma_schedule) request.sigma_schedule = schedule;
    return;
  }
  throw Error(Fault::usage, concat(argument.flag(), ": unknown scheduler '", printable(argument.raw(), 60), "'",
                                   did_you_mean(wanted, names), " (--list-schedulers shows all)"));
}

std::string a1111_sampler(const std::string& name) {
  // A:modules/sd_samplers_kdiffusion.py, sd_samplers_timesteps.py of stable-diffusion-webui 1.10; the last ones are
  // spelled in its manner.
  static const std::map<std::string, std::string> spellings = {
      {"ddim", "DDIM"},
      {"plms", "PLMS"},
      {"euler", "Euler"},
      {"euler-a", "Euler a"},
      {"heun", "Heun"},
      {"lms", "LMS"},
      {"dpm2", "DPM2"},
      {"dpm2-a", "DPM2 a"},
      {"dpm++2m", "DPM++ 2M"},
      {"unipc", "UniPC"},
      {"dpm++2m-sde", "DPM++ 2M SDE"},
      {"lcm", "LCM"},
      {"dpm++3m", "DPM++ 3M"},
      {"dpm++2s", "DPM++ 2S"},
      {"ddpm", "DDPM"},
      {"pndm", "PNDM"},
      {"deis", "DEIS"},
      {"tcd", "TCD"},
  };
  const auto found = spellings.find(name);
  return found == spellings.end() ? name : found->second;
}

std::string scheduler_list(std::span<const SchedulerInfo> known) {
  std::size_t names = 0, classes = 0;
  for (const SchedulerInfo& info : known) {
    names = std::max(names, info.name.size());
    classes = std::max(classes, info.diffusers_class.size());
  }
  std::string text;
  for (const SchedulerInfo& info : known) {
    text += info.name + std::string(names - info.name.size() + 2, ' ');
    text += info.diffusers_class + std::string(classes - info.diffusers_class.size() + 2, ' ');
    text += info.summary + "\n";
  }
  return text;
}

}  // namespace sdgen::cli
