// sdgen: what the first word asks for, and how the program ends. Pictures are made in generate.cpp; the story is in
// pipeline/session.cpp; the rooms are in src/README.md.
#include <algorithm>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "cli/command_line.h"
#include "cli/help.h"
#include "cli/jobs.h"
#include "cli/model_path.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/report_text.h"
#include "cli/results.h"
#include "cli/schedulers.h"
#include "cli/schema.h"
#include "cli/versions.h"
#include "image/canny.h"
#include "image/picture.h"
#include "image/png.h"
#include "io/file.h"
#include "io/json.h"
#include "program/convert.h"
#include "program/core.h"
#include "program/generate.h"
#include "program/inspect.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {
namespace {

void draw_edges(const Options& options) {
  const bool to_stdout = *options.output.path == "-";
  if (to_stdout) require_stdout_takes_pictures();
  require_not_an_input(options, *options.output.path);
  const Image edges =
      canny(read_picture(*options.inputs.init_image), options.process.canny_low, options.process.canny_high);
  if (!to_stdout) make_folder(std::filesystem::path(*options.output.path).parent_path());
  save_png(to_stdout ? "" : *options.output.path, edges, {}, existing_files(options) == Existing::replaced);
  if (!to_stdout) write_stdout(*options.output.path + "\n");
}

void inspect(const Options& options) {
  const Inspection found = sdgen::inspect(options.process.paths[0]);
  write_stdout(options.output.json ? report_json(found.report) : report_text(found.report));
  if (!found.problem.empty()) throw Error(Fault::input, found.problem);
}

int usable_cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

void convert(const Options& options) {
  require_not_an_input(options, *options.output.path);
  const Conversion conversion{.from = located(*options.model),
                              .to = *options.output.path,
                              .dtype = options.load.precision,
                              .quantize = options.load.quantize,
                              .overwrite = options.output.existing != Existing::refused,
                              .threads = options.run.threads > 0 ? options.run.threads : usable_cores(),
                              .pause = [] {
                                if (interrupted() != 0) throw Cancelled();
                              }};
  const Converted done = sdgen::convert(conversion);
  const OrderedJson line{
      {"file", *options.output.path}, {"bytes", done.bytes}, {"tensors", done.tensors}, {"encodings", done.encodings}};
  write_stdout((options.output.json ? line_of_json(line) : *options.output.path) + "\n");
}

void check_autoencoder(const Options& options) {
  Progress progress(options.output.quiet, options.output.verbose, terminal_columns());
  require_not_an_input(options, *options.output.path);
  const Image picture = read_picture(*options.inputs.init_image);
  const std::filesystem::path model = options.load.vae ? "" : find_model(options.model);
  core().prepare(options.run.threads);
  const Roundtrip result = core().vae_roundtrip(model, options.load, picture, progress);
  make_folder(std::filesystem::path(*options.output.path).parent_path());
  write_file_atomically(*options.output.path, encode_png(result.image, {}),
                        existing_files(options) == Existing::replaced);
  write_stdout(roundtrip_line(result.psnr, *options.output.path, options.output.json));
}

// Returns the exit code.
int run(const std::vector<std::string>& words) {
  const CommandLine command = parse_command_line(words);
  const Options& options = command.options;
  switch (options.process.action) {
    case Action::generate:
      return generate(command, option_rows());
    case Action::inspect:
      inspect(options);
      break;
    case Action::convert:
      convert(options);
      break;
    case Action::vae_roundtrip:
      check_autoencoder(options);
      break;
    case Action::canny:
      draw_edges(options);
      break;
    case Action::help:
      write_stdout(help_text(options.process.subcommand));
      break;
    case Action::help_all:
      write_stdout(full_help_text());
      break;
    case Action::version:
      write_stdout(version_text(core().versions()));
      break;
    case Action::schema:
      write_stdout(schema(option_rows()).dump(/*indent=*/2) + "\n");
      break;
    case Action::list_schedulers:
      write_stdout(scheduler_list());
      break;
  }
  return 0;
}

}  // namespace
}  // namespace sdgen::cli

int main(int argc, char** argv) {
  using namespace sdgen::cli;
  prepare_process();
  Failure failure{static_cast<int>(sdgen::Fault::internal),
                  "sdgen: internal error: an exception of no known type: please report it\n"};
  try {
    return run({argv + (argc > 0), argv + argc});
  } catch (const std::exception& error) {
    failure = explain(error);
  } catch (...) {  // libtorch throws std::exceptions only
  }
  write_stderr(failure.message);
  return failure.exit_code;
}
