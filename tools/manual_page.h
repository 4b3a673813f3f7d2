// The manual page and completions for shells, all of them from the table of options. Needed while building alone, so
// it is no part of the program.
#pragma once

#include <span>
#include <string>

#include "cli/options.h"

namespace sdgen::cli {

// sdgen.1, for man(7)'s macros.
std::string manual_page(std::span<const SchedulerInfo> schedulers);

// Completions of options, their words, files and subcommands.
std::string bash_completion(std::span<const SchedulerInfo> schedulers);
std::string zsh_completion(std::span<const SchedulerInfo> schedulers);
std::string fish_completion(std::span<const SchedulerInfo> schedulers);

}  // namespace sdgen::cli
