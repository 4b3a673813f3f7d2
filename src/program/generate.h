// Makes the pictures that a command line asks for.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cli/display.h"
#include "cli/jobs.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/results.h"
#include "sdgen/error.h"

namespace sdgen::cli {

// Settles what is to be made, loads the model once, makes the pictures and puts each away as soon as it is there.
// Returns the exit code: 0, or 1 when lines of a batch file failed. Throws Error and Cancelled; what is finished by
// then is saved, as far as that takes no more than ten seconds after a signal. `rows` are those that
// the command line was read by.
int generate(const CommandLine& command, std::span<const OptionRow> rows);

// What failed on its own, a line of a batch file or a picture of a folder: each is named, the others go on.
class Failures {
 public:
  Failures(const Options& options, Progress& progress)
      : options_(options),
        progress_(progress),
        several_(options.run.prompts || lists_inputs(options) || lists_records(options)) {}

  // Called where `error` is caught: tells and counts it when it is the line's alone, else throws it on.
  void take(const std::string& where, const Error& error);
  std::size_t count() const { return count_; }
  // "2 lines failed"
  std::string summary() const;

 private:
  const Options& options_;
  Progress& progress_;
  const bool several_;
  std::size_t count_ = 0;
  std::string last_;  // what failed last: several pictures of a line fail as one
};

// What a run is made of, from its first picture to its last.
struct Run {
  const CommandLine& command;
  const std::filesystem::path& model;
  Jobs& jobs;
  Results& results;
  Display& display;
  Failures& failures;
  Progress& progress;

  const Options& options() const { return command.options; }
  // The next jobs, with as many input pictures as fit into memory; at least one, unless there are no more.
  std::vector<Job> gather();
  // May gather() have more?
  bool more() const { return !waiting.empty() || !jobs.ended(); }

  std::deque<Job> waiting = {};   // planned, and their input pictures not read yet
  std::vector<Job> skipped = {};  // with --dry-run: whose files are there already

 private:
  void gather_some();
};

}  // namespace sdgen::cli
