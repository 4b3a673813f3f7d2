// What options say where the command line does not: a configuration file, the environment.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/settings.h"

namespace sdgen::cli {

// A TOML file (https://toml.io, 1.0): a key is a long option with '_' or '-', its value a text, a number, true or false
// for a switch, or a list for an option that may be given several times. What is good for one picture and what is good
// for a whole run may be there. Throws Error(input) that names file and line for what is not TOML, not an option, or
// not a value of it.
Settings read_config(const std::string& path, std::span<const OptionRow> rows);

// The variables SDGEN_STEPS=30, SDGEN_DEVICE=cpu, ... for what a machine or its user prefers. What to make and where to
// put it is not taken from there (OptionRow::environment). Empty ones count as unset. Throws Error(usage) that names
// the variable; `warnings` tells of those whose names are near to one.
Settings environment_settings(std::span<const OptionRow> rows, std::vector<std::string>& warnings);

// The variable of an option: "SDGEN_GUIDANCE_SCALE"; empty where there is none.
std::string variable_of(const OptionRow& row);

}  // namespace sdgen::cli
