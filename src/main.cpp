// sdgen: parse, load, complete, run, save. The story is in pipeline.cpp; the rooms are in README.md.
#include <algorithm>
#include <exception>
#include <iterator>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/grid.h"
#include "cli/jobs.h"
#include "cli/lora_tags.h"
#include "cli/model_path.h"
#include "cli/previews.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/report_text.h"
#include "cli/results.h"
#include "cli/schedulers.h"
#include "inspect.h"
#include "io/canny.h"
#include "io/file.h"
#include "io/picture.h"
#include "io/png.h"
#include "io/utf8.h"
#include "sdgen/sdgen.h"
#include "vae_roundtrip.h"

namespace sdgen::cli {
namespace {

// Lines of a batch file that failed on their own: each is named, the others go on.
class Failures {
 public:
  Failures(const Options& options, Progress& progress) : options_(options), progress_(progress) {}

  // Called where `error` is caught: tells and counts it when it is the line's alone, else throws it on.
  void take(const std::string& where, const Error& error) {
    const bool alone = error.fault() == Fault::usage || error.fault() == Fault::input;
    if (!options_.prompts || options_.fail_fast || !alone) throw;
    progress_.print(concat("sdgen: ", where.empty() ? "" : concat(where, ": "), error.what(), "\n"));
    ++count_;
  }
  std::size_t count() const { return count_; }

 private:
  const Options& options_;
  Progress& progress_;
  std::size_t count_ = 0;
};

// The jobs that are known without waiting; at least one, unless there are no more.
std::vector<Job> gather(Jobs& jobs, Grid* grid, Failures& failures, Progress& progress) {
  constexpr std::size_t most = 100'000;  // requests in memory
  std::vector<Job> found;
  while (found.size() < most && (found.empty() || jobs.ready()) && !progress.cancelled()) {
    try {
      auto line = jobs.next();
      if (!line) break;
      std::ranges::move(*line, std::back_inserter(found));
    } catch (const Error& error) {
      if (jobs.unreadable()) throw;
      failures.take("", error);
    }
  }
  const std::vector<Job> skipped = jobs.take_skipped();
  if (skipped.size() == 1)
    progress.note(skipped[0].file.string() + " is there already");
  else if (skipped.size() > 1)
    progress.note(concat(skipped.size(), " pictures are there already"));
  if (grid) grid->plan(found, skipped);
  return found;
}

// Completes the jobs and makes their pictures.
void make(const Options& options, const Pipeline& pipeline, std::vector<Job> jobs, Grid* grid, Failures& failures,
          Previews& previews, Progress& progress, bool more) {
  std::vector<Request> requests;
  std::vector<std::filesystem::path> files;
  std::vector<std::uint64_t> indices;
  for (Job& job : jobs) {
    try {
      requests.push_back(pipeline.complete(job.request));
      files.push_back(std::move(job.file));
      indices.push_back(job.index);
    } catch (const Error& error) {
      failures.take(job.where, error);
    }
  }
  progress.expect(requests.size(), more);
  previews.expect(files);
  pipeline(
      requests,
      [&](std::size_t i, Image image) {
        const Progress::Pause pause(progress);
        save_picture(options, files[i], image, requests[i], pipeline.info(), progress.timings());
        previews.finished(files[i]);
        progress.finished();
        if (grid) grid->add(indices[i], image);
      },
      previews);
}

// Returns the exit code.
int generate(Options options, std::span<const OptionRow> rows) {
  Progress progress(options.quiet, options.verbose, terminal_columns());
  Previews previews(progress, options.preview_every);
  Failures failures(options, progress);
  const std::filesystem::path model = find_model(options.model);
  if (options.request.prompt) take_lora_tags(*options.request.prompt, options.lora_dir, options.load.loras);
  Jobs jobs(options, name_of(model), rows);
  std::optional<Grid> sheets;
  if (options.grid)
    sheets.emplace(GridShape{options.grid->width, options.grid->height},
                   Grid::Rules{options.overwrite, options.skip_existing,
                               [&progress](const std::string& line) { progress.note(line); }});
  Grid* grid = sheets ? &*sheets : nullptr;
  std::vector<Job> next = gather(jobs, grid, failures, progress);
  for (const std::string& column : jobs.unused_columns())
    progress.note(concat("column '", printable(column, 60), "' is no option and not used"));
  if (jobs.choices_unheard())
    progress.note("warning: {a|b} and __name__ in prompts are text; with --wildcards DIR they are choices");
  if (!next.empty()) {
    if (!options.prompts) Pipeline::check_prompt(model, next.front().request);
    if (jobs.random_seed()) progress.note(concat("seed ", jobs.first_seed()));
    const Pipeline pipeline = Pipeline::load(model, options.load, progress);
    progress.begin(pipeline.info());
    for (; !next.empty(); next = gather(jobs, grid, failures, progress))
      make(options, pipeline, std::move(next), grid, failures, previews, progress, !jobs.ended());
    progress.end();
  }
  if (grid && !progress.cancelled()) grid->end();
  if (progress.cancelled()) throw Cancelled();
  if (failures.count() > 0)
    progress.note(concat(failures.count(), failures.count() == 1 ? " line failed" : " lines failed"));
  return failures.count() > 0 ? 1 : 0;
}

void draw_edges(const Options& options) {
  const bool to_stdout = *options.output == "-";
  if (to_stdout) require_stdout_takes_pictures();
  const Image edges = canny(read_picture(*options.init_image), options.canny_low, options.canny_high);
  save_png(to_stdout ? "" : *options.output, edges, {}, options.overwrite);
  if (!to_stdout) write_stdout(*options.output + "\n");
}

void inspect(const Options& options) {
  const Inspection found = sdgen::inspect(options.paths[0]);
  write_stdout(options.json ? report_json(found.report) : report_text(found.report));
  if (!found.problem.empty()) throw Error(Fault::input, found.problem);
}

void check_autoencoder(const Options& options) {
  Progress progress(options.quiet, options.verbose, terminal_columns());
  const Image picture = read_picture(*options.init_image);
  const std::filesystem::path model = options.load.vae ? "" : find_model(options.model);
  const Roundtrip result = vae_roundtrip(model, options.load, picture, progress);
  write_file_atomically(*options.output, encode_png(result.image, {}), options.overwrite);
  write_stdout(roundtrip_line(result.psnr, *options.output, options.json));
}

// Returns the exit code.
int run(const std::vector<std::string>& words) {
  const std::vector<SchedulerInfo> schedulers = scheduler_infos();
  const Options options = parse_command_line(words, schedulers);
  switch (options.action) {
    case Action::generate:
      return generate(options, option_rows(schedulers));
    case Action::inspect:
      inspect(options);
      break;
    case Action::vae_roundtrip:
      check_autoencoder(options);
      break;
    case Action::canny:
      draw_edges(options);
      break;
    case Action::help:
      write_stdout(help_text(schedulers, options.subcommand));
      break;
    case Action::version:
      write_stdout(version_text());
      break;
    case Action::list_schedulers:
      write_stdout(scheduler_list(schedulers));
      break;
  }
  return 0;
}

}  // namespace
}  // namespace sdgen::cli

int main(int argc, char** argv) {
  using namespace sdgen::cli;
  prepare_process();
  Failure failure{70, "sdgen: internal error: an exception of no known type: please report it\n"};
  try {
    return run({argv + (argc > 0), argv + argc});
  } catch (const std::exception& error) {
    failure = explain(error);
  } catch (...) {  // libtorch throws std::exceptions only
  }
  write_stderr(failure.message);
  return failure.exit_code;
}
