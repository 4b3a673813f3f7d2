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
  if (!several_ || !alone) throw;
  // "jobs.txt:3: photos/a.png" and "photos/a.png: is cut" name the picture once.
  const std::size_t at = where.rfind(": "), last = at == where.npos ? 0 : at + 2;
  const std::string who = where.empty()                                  ? ""
                          : error.text().starts_with(where.substr(last)) ? where.substr(0, last)
                                                                         : where + ": ";
  if (options_.run.fail_fast) throw Error(error.fault(), who + error.text());
  const std::string line = concat("sdgen: ", who, in_flags(error), "\n");
  if (line == last_) return;
  progress_.print(line);
  last_ = line;
  ++count_;
}

std::string Failures::summary() const {
  return concat(count_, options_.run.prompts ? " line" : " picture", count_ == 1 ? "" : "s", " failed");
}

// Reads lines until there is a job, or as many as are known without waiting. What is there already is reported.
void Run::gather_some() {
  constexpr std::size_t most = 100'000;  // requests in memory
  std::vector<Job> found;
  const auto none = [&] { return found.empty() && jobs.skipped() == 0; };
  const auto room = [&] { return found.size() + jobs.skipped() < most; };
  while ((none() || (room() && jobs.ready())) && !progress.cancelled()) {
    try {
      auto line = jobs.next();
      if (!line) break;
      std::ranges::move(*line, std::back_inserter(found));
    } catch (const Error& error) {
      if (jobs.unreadable()) throw;
      failures.take("", error);
    }
    for (const auto& [where, error] : jobs.take_failed()) failures.take(where, error);
  }
  for (const std::string& warning : jobs.take_warnings()) progress.warning(warning);
  const std::vector<Job> skipped = jobs.take_skipped();
  std::vector<std::filesystem::path> files;
  for (const Job& job : skipped) files.push_back(job.file);
  if (command.options.process.dry_run)
    std::ranges::copy(skipped, std::back_inserter(this->skipped));
  else
    results.keep(files);
  display.plan(found, skipped);
  std::ranges::move(found, std::back_inserter(waiting));
}

std::vector<Job> Run::gather() {
  constexpr std::size_t most_bytes = 256'000'000;  // of pictures in memory
  jobs.forget_pictures();
  std::vector<Job> found;
  while (more() && !progress.cancelled()) {
    if (waiting.empty()) gather_some();
    while (!waiting.empty() && jobs.picture_bytes() < most_bytes && !progress.cancelled()) {
      Job job = std::move(waiting.front());
      waiting.pop_front();
      try {
        jobs.read(job);
        found.push_back(std::move(job));
      } catch (const Error& error) {
        failures.take(job.where, error);
      }
    }
    if (!found.empty()) break;
  }
  for (const std::string& warning : jobs.take_warnings()) progress.warning(warning);
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
  const bool dry = options.process.dry_run;
  if (dry || !next.empty() || options.run.profile) {
    core().prepare(options.run.threads);
    (dry ? core().dry_run : core().draw)(run, std::move(next));
  }
  if (progress.cancelled()) throw Cancelled();
  if (jobs.none() && options.run.prompts)
    progress.warning(concat(printable(*options.run.prompts), ": no line asks for a picture; nothing was drawn"));
  if (!dry) display.end();
  if (failures.count() > 0) progress.note(failures.summary());
  return failures.count() > 0 ? 1 : 0;
}

}  // namespace sdgen::cli
