// The part of a run that needs networks.
#pragma once

#include <vector>

#include "program/run.h"

namespace sdgen::cli {

// Loads the run's model and makes the pictures of `next`, and of all jobs that come after them; without any it does
// nothing, except for the --profile of that. Throws Error and Cancelled; what is finished by then is saved.
void draw(Run& run, std::vector<Job> next);

}  // namespace sdgen::cli
