// The names that people use for schedulers: ours, stable-diffusion.cpp's, AUTOMATIC1111's and ComfyUI's.
#pragma once

#include <span>
#include <string>

#include "cli/arguments.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// Where a run visits which noise levels, as other programs call it.
struct ScheduleType {
  const char *a1111, *comfyui;
  const char* option;  // of ours, that says the same, and with which value
  const char* value;
  std::optional<std::string> Request::*field;

  bool of_sigmas() const { return field == &Request::sigma_schedule; }
};
std::span<const ScheduleType> schedule_types();

// Sets the request's scheduler to the one that the argument means, by any of its names: ours,
// AUTOMATIC1111's ("DPM++ 2M", "Euler a") or ComfyUI's ("dpmpp_2m", "euler_ancestral"), with k-diffusion's "k_" before
// it or not. Case, blanks, '-' and '_' do not count. A schedule type of ComfyUI's after it ("DPM++ 2M Karras",
// "euler sgm_uniform") is set too, where none is. Throws Error(usage) with the nearest name.
void set_scheduler(Request& request, const Argument& argument);

// The sampler as A1111's user interface and Civitai spell it, which have one name for diffusion and flow.
std::string a1111_sampler(const SchedulerInfo& scheduler);

// The planned request's "Schedule type" there; "": the sampler has no choice.
std::string a1111_schedule(const Request& request, const SchedulerInfo& scheduler);

// The text of --list-schedulers.
std::string scheduler_list();

}  // namespace sdgen::cli
