// --dry-run: what a run would make, and what it would take.
#pragma once

#include <vector>

#include "cli/jobs.h"

namespace sdgen::cli {

class Run;

// Plans `next` and all jobs after them as draw() does, and says on stdout what would be made: a line a picture, then a
// summary. Reads the headers of the model's files alone, and writes nothing. Throws as draw() does before its first
// network call.
void dry_run(Run& run, std::vector<Job> next);

}  // namespace sdgen::cli
