// What a run will make, and where it goes: settled and checked before anything is loaded.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/options.h"

namespace sdgen::cli {

struct Plan {
  std::vector<Request> requests;               // seeded; in the order of their indices
  std::vector<std::filesystem::path> files;    // of the same pictures; empty: stdout
  std::vector<std::filesystem::path> skipped;  // were there already (--skip-existing)
  std::uint64_t first_seed = 0;
  bool random_seed = false;
};

// Throws Error(usage) when stdout, which is to take a PNG, is a terminal.
void require_stdout_takes_pictures();

// Spreads the options over the run's pictures: picture i has seed first_seed + i (mod 2^64). Throws Error(usage) for a
// bad template or when two pictures would get one name, Error(output) when a file exists (unless --overwrite or
// --skip-existing) or its folder cannot be written, Error(input) when a picture that is given cannot be read.
Plan make_plan(const Options& options, const std::string& model_name);

}  // namespace sdgen::cli
