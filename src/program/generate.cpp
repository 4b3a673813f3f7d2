#include "program/generate.h"

#include <algorithm>
#include <iterator>

#include "cli/fields.h"
#include "cli/model_path.h"
#include "cli/process.h"
#include "io/file.h"
#include "io/utf8.h"
#include "program/core.h"

namespace sdgen::cli {

void Failures::take(const std::string& where, const Error& error) {
  const bool alone = error.fault() == Fault::usage || error.fault() == Fault::input;
  if (!options_.run.prompts || !alone) throw;
  if (options_.run.fail_fast)
    throw Error(error.fault(), concat(where.empty() ? "" : concat(where, ": "), error.text()));
  progress_.print(concat("sdgen: ", where.empty() ? "" : concat(where, ": "), in_flags(error), "\n"));
  ++count_;
}

// Reads lines until there is a job, or as many as are known without waiting and fit into memory. Returns what is to be
// made; what is there already is reported.
std::vector<Job> Run::gather_some() {
  constexpr std::size_t most = 100'000, most_bytes = 256'000'000;  // requests in memory, and their pictures
  std::vector<Job> found;
  jobs.forget_pictures();
  const auto none = [&] { return found.empty() && jobs.skipped() == 0; };
  const auto room = [&] { return found.size() + jobs.skipped() < most && jobs.picture_bytes() < most_bytes; };
  while ((none() || (room() && jobs.ready())) && !progress.cancelled()) {
    try {
      auto line = jobs.next();
      if (!line) break;
      std::ranges::move(*line, std::back_inserter(found));
    } catch (const Error& error) {
      if (jobs.unreadable()) throw;
      failures.take("", error);
    }
  }
  for (const std::string& warning : jobs.take_warnings()) progress.warning(warning);
  const std::vector<Job> skipped = jobs.take_skipped();
  std::vector<std::filesystem::path> files;
  for (const Job& job : skipped) files.push_back(job.file);
  results.keep(files);
  display.plan(found, skipped);
  return found;
}

std::vector<Job> Run::gather() {
  std::vector<Job> found;
  while (found.empty() && !jobs.ended() && !progress.cancelled()) found = gather_some();
  return found;
}

int generate(const CommandLine& given, std::span<const OptionRow> rows) {
  Progress progress(given.options.output.quiet, given.options.output.verbose, terminal_columns());
  const std::filesystem::path model = find_model(given.options.model);
  CommandLine command = given;
  const Options& options = command.options;
  command.defaults = merged(command.defaults, {{"--model", model_said(options.model)}});
  Failures failures(options, progress);
  for (const std::string& warning : command.warnings) progress.warning(warning);
  Jobs jobs(command, name_of(model), rows, [&progress] { return progress.cancelled(); });
  Results results(options, progress);
  Display display(options, jobs.sweep(), progress);
  Run run{command, model, jobs, results, display, failures, progress};
  std::vector<Job> next = run.gather();
  for (const std::string& column : jobs.unused_columns())
    progress.note(concat("column '", printable(column, 60), "' is not an option and is not used"));
  if (!next.empty() || options.run.profile) {
    core().prepare(options.run.threads);
    core().draw(run, std::move(next));
  }
  if (progress.cancelled()) throw Cancelled();
  if (jobs.none())
    progress.warning(concat(printable(*options.run.prompts), ": no line asks for a picture; nothing was drawn"));
  display.end();
  if (failures.count() > 0)
    progress.note(concat(failures.count(), failures.count() == 1 ? " line failed" : " lines failed"));
  return failures.count() > 0 ? 1 : 0;
}

}  // namespace sdgen::cli
