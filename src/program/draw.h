// The part of a run that needs networks.
#pragma once

#include <vector>

#include "program/generate.h"

namespace sdgen::cli {

// Loads the model and makes the pictures of `next`, and of all jobs that come after them; without any it does nothing,
// except for the --profile of that. Throws as generate() does.
void draw(Run& run, std::vector<Job> next);

}  // namespace sdgen::cli
