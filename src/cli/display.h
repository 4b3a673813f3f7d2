// What people see of a run beside its files: previews, contact sheets, pictures in the terminal.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cli/grid.h"
#include "cli/jobs.h"
#include "cli/options.h"
#include "cli/previews.h"
#include "cli/progress.h"
#include "cli/results.h"
#include "cli/show.h"

namespace sdgen::cli {

class Display {
 public:
  // A sweep of moderate size gets sheets of its own shape. `options` and `progress` must outlive this. Throws
  // Error(usage) when pictures are to be shown and there is no terminal.
  Display(const Options& options, const Sweep* sweep, Progress& progress);

  // The observer for the pipeline; it forwards to Progress.
  Observer& observer() { return previews_; }

  // What is known of the run, before anything of it is made. Throws Error(usage), Error(output) for files that cannot
  // be where they belong.
  void plan(const std::vector<Job>& made, const std::vector<Job>& skipped);
  // What the pipeline's next call makes.
  void expect(const std::vector<Job>& jobs);
  // A picture is written; called by the writer's thread. Throws Error(output).
  void finished(const Finished& picture);
  // All are.
  void end();

 private:
  Progress& progress_;
  Previews previews_;
  std::mutex lock_;
  std::optional<Grid> grid_;
  std::optional<Terminal> terminal_;
};

}  // namespace sdgen::cli
