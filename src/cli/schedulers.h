// The names that people use for schedulers: ours, stable-diffusion.cpp's and AUTOMATIC1111's.
#pragma once

#include <span>
#include <string>

#include "cli/arguments.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// Sets the request's scheduler to the name in `known` that the argument means. Case, blanks, '-' and '_' do not count,
// so that A1111's spellings are names too: "DPM++ 2M", "Euler a", "UniPC", and k-diffusion's: "k_euler", "dpmpp_2m".
// The suffixes " Karras", " Exponential" and " Beta" set the sigma schedule, where none is set. Throws Error(usage)
// with the nearest name.
void set_scheduler(Request& request, const Argument& argument, std::span<const SchedulerInfo> known);

// The sampler as A1111's user interface and Civitai spell it; names that A1111 does not have stay as they are.
std::string a1111_sampler(const std::string& name);

// The text of --list-schedulers.
std::string scheduler_list(std::span<const SchedulerInfo> known);

}  // namespace sdgen::cli
