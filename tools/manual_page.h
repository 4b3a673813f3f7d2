// The manual page and completions for shells, all of them from the table of options. Needed while building alone, so
// it is no part of the program.
#pragma once

#include <span>
#include <string>

#include "cli/options.h"

namespace sdgen::cli {

// sdgen.1, for man(7)'s macros.
std::string manual_page();

// Completions of options, their words, files and subcommands.
std::string bash_completion();
std::string zsh_completion();
std::string fish_completion();

}  // namespace sdgen::cli
