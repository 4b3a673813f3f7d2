// What the drawing of pictures asks of the run around it: which pictures there are, and what becomes of them.
// `generate` writes them or, with --dry-run, only says what they would be; `verify` compares them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/jobs.h"
#include "cli/model_hashes.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/results.h"
#include "sdgen/error.h"

namespace sdgen::cli {

class Run {
 public:
  virtual ~Run() = default;

  virtual const Options& options() const = 0;  // about the networks and this machine
  virtual const std::filesystem::path& model() const = 0;
  virtual Progress& progress() = 0;
  virtual Observer& observer() = 0;  // of the pipeline; it forwards to Progress

  // The next jobs; at least one, unless there are no more.
  virtual std::vector<Job> gather() = 0;
  virtual std::size_t waiting() const = 0;                // how many jobs gather() is known to have yet
  virtual bool ended() const = 0;                         // are there no more than these?
  virtual std::vector<Job> take_skipped() { return {}; }  // with --dry-run: those whose files are there already
  virtual bool prompts_differ() const = 0;                // may the prompt of one job be wrong, and that of others not?
  virtual bool as_they_come() const = 0;                  // do jobs arrive while pictures are made?

  // Before anything is loaded; pictures will be made by `machine`. With --dry-run it writes nothing. Throws
  // Error(output).
  virtual void begin(const Machine& machine) = 0;
  // Is it wanted which files the networks come from?
  virtual bool wants_hashes() const = 0;
  // Throws Error(usage) for a picture that could not be kept as it is planned.
  virtual void require_keepable(const Request& planned) const = 0;
  // Called where `error`, about this job, is caught: takes note of it, or throws it on.
  virtual void failed(const Job& job, const Error& error) = 0;
  // These will be made next.
  virtual void expect(const std::vector<Job>& jobs) = 0;
  // One is made; called by the writer's thread.
  virtual void save(Finished& picture, const ModelInfo& model, const ModelHashing& hashes) = 0;
  // All are.
  virtual void drawn(const ModelHashing& hashes) = 0;
};

}  // namespace sdgen::cli
