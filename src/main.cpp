// sdgen: parse, load, complete, run, save. The story is in pipeline.cpp; the rooms are in README.md.
#include <exception>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/lora_tags.h"
#include "cli/model_path.h"
#include "cli/names.h"
#include "cli/plan.h"
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
#include "sdgen/sdgen.h"
#include "vae_roundtrip.h"

namespace sdgen::cli {
namespace {

void generate(Options options) {
  Progress progress(options.quiet, options.verbose, terminal_columns());
  const std::filesystem::path model = find_model(options.model);
  Pipeline::check_prompt(model, options.request);
  if (options.request.prompt) take_lora_tags(*options.request.prompt, options.lora_dir, options.load.loras);
  Plan plan = make_plan(options, model_name(model));
  for (const auto& file : plan.skipped) progress.note(file.string() + " is there already");
  if (plan.requests.empty()) return;
  if (plan.random_seed) progress.note(concat("seed ", plan.first_seed));

  const Pipeline pipeline = Pipeline::load(model, options.load, progress);
  for (Request& request : plan.requests) request = pipeline.complete(request);
  progress.begin(pipeline.info(), plan.requests);
  const auto save = [&](std::size_t i, Image image) {
    progress.clear();
    save_picture(options, plan.files[i], image, plan.requests[i], pipeline.info(), progress.timings());
    progress.finished();
  };
  pipeline(plan.requests, save, progress);
  progress.end();
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

void run(const std::vector<std::string>& words) {
  const std::vector<SchedulerInfo> schedulers = scheduler_infos();
  const Options options = parse_command_line(words, schedulers);
  switch (options.action) {
    case Action::generate:
      return generate(options);
    case Action::inspect:
      return inspect(options);
    case Action::vae_roundtrip:
      return check_autoencoder(options);
    case Action::canny:
      return draw_edges(options);
    case Action::help:
      return write_stdout(help_text(schedulers, options.subcommand));
    case Action::version:
      return write_stdout(version_text());
    case Action::list_schedulers:
      return write_stdout(scheduler_list(schedulers));
  }
}

}  // namespace
}  // namespace sdgen::cli

int main(int argc, char** argv) {
  using namespace sdgen::cli;
  prepare_process();
  Failure failure{70, "sdgen: internal error: an exception of no known type: please report it\n"};
  try {
    run({argv + (argc > 0), argv + argc});
    return 0;
  } catch (const std::exception& error) {
    failure = explain(error);
  } catch (...) {  // libtorch throws std::exceptions only
  }
  write_stderr(failure.message);
  return failure.exit_code;
}
