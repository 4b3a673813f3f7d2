#include "program/generate.h"

#include <algorithm>
#include <atomic>
#include <iterator>

#include "cli/command_line.h"
#include "cli/comparison.h"
#include "cli/display.h"
#include "cli/fields.h"
#include "cli/jobs.h"
#include "cli/model_path.h"
#include "cli/process.h"
#include "image/picture.h"
#include "io/file.h"
#include "io/utf8.h"
#include "program/core.h"
#include "program/run.h"

namespace sdgen::cli {
namespace {

// Lines of a batch file that failed on their own: each is named, the others go on.
class Failures {
 public:
  Failures(const Options& options, Progress& progress) : options_(options), progress_(progress) {}

  // Called where `error` is caught: tells and counts it when it is the line's alone, else throws it on.
  void take(const std::string& where, const Error& error) {
    const bool alone = error.fault() == Fault::usage || error.fault() == Fault::input;
    if (!options_.run.prompts || !alone) throw;
    if (options_.run.fail_fast)
      throw Error(error.fault(), concat(where.empty() ? "" : concat(where, ": "), error.text()));
    progress_.print(concat("sdgen: ", where.empty() ? "" : concat(where, ": "), in_flags(error), "\n"));
    ++count_;
  }
  std::size_t count() const { return count_; }

 private:
  const Options& options_;
  Progress& progress_;
  std::size_t count_ = 0;
};

// A run that writes its pictures.
class Generation : public Run {
 public:
  Generation(const CommandLine& command, std::filesystem::path model, std::span<const OptionRow> rows,
             Progress& progress)
      : command_(command),
        model_(std::move(model)),
        progress_(progress),
        failures_(command.options, progress),
        jobs_(command, name_of(model_), rows, [&progress] { return progress.cancelled(); }),
        results_(command.options, progress),
        display_(command.options, jobs_.sweep(), progress) {}

  const Options& options() const override { return command_.options; }
  const std::filesystem::path& model() const override { return model_; }
  Progress& progress() override { return progress_; }
  Observer& observer() override { return display_.observer(); }

  std::vector<Job> gather() override {
    std::vector<Job> found;
    while (found.empty() && !jobs_.ended() && !progress_.cancelled()) found = gather_some();
    return found;
  }
  bool ended() const override { return jobs_.ended(); }
  bool each_alone() const override { return options().run.prompts.has_value(); }
  bool as_they_come() const override {
    const auto& prompts = options().run.prompts;
    return prompts && !std::filesystem::is_regular_file(*prompts);
  }

  void begin(const Machine& machine) override {
    results_.prepare(machine);
    if (jobs_.random_seed()) progress_.note(concat("seed ", jobs_.first_seed()));
  }
  bool wants_hashes() const override {
    return options().output.metadata || options().output.json || results_.has_manifest();
  }
  void require_keepable(const Request& planned) const override { results_.require_fits(planned); }
  void failed(const Job& job, const Error& error) override { failures_.take(job.where, error); }
  void expect(const std::vector<Job>& jobs) override {
    for (const Job& job : jobs) results_.expect(job.file);
    display_.expect(jobs);
  }
  void save(Finished& picture, const ModelInfo& model, const ModelHashing& hashes) override {
    results_.save(picture, model, hashes);
    if (picture.expected.image) compare(picture, model);
    display_.finished(picture);
  }
  void drawn(const ModelHashing& hashes) override {
    if (const std::string& wanted = command_.model_sha256; !wanted.empty() && hashes.get().model != wanted)
      progress_.warning(
          concat(*options().process.from_image, ": its model was another file than ", model_.string(), " is now"));
  }

  // What is said at the end. Returns the exit code.
  int end() {
    if (jobs_.none())
      progress_.warning(concat(printable(*options().run.prompts), ": no line asks for a picture; nothing was drawn"));
    display_.end();
    if (failures_.count() > 0)
      progress_.note(concat(failures_.count(), failures_.count() == 1 ? " line failed" : " lines failed"));
    if (unexpected_ > 0)
      progress_.note(concat(unexpected_, unexpected_ == 1 ? " picture is" : " pictures are", " not as expected"));
    return failures_.count() + unexpected_ > 0 ? 1 : 0;
  }
  const std::vector<std::string>& unused_columns() const { return jobs_.unused_columns(); }

 private:
  // Reads lines until there is a job, or as many as are known without waiting and fit into memory. Returns what is to
  // be made; what is there already is reported.
  std::vector<Job> gather_some() {
    constexpr std::size_t most = 100'000, most_bytes = 256'000'000;  // requests in memory, and their pictures
    std::vector<Job> found;
    jobs_.forget_pictures();
    const auto none = [&] { return found.empty() && jobs_.skipped() == 0; };
    const auto room = [&] { return found.size() + jobs_.skipped() < most && jobs_.picture_bytes() < most_bytes; };
    while ((none() || (room() && jobs_.ready())) && !progress_.cancelled()) {
      try {
        auto line = jobs_.next();
        if (!line) break;
        std::ranges::move(*line, std::back_inserter(found));
      } catch (const Error& error) {
        if (jobs_.unreadable()) throw;
        failures_.take("", error);
      }
    }
    for (const std::string& warning : jobs_.take_warnings()) progress_.warning(warning);
    const std::vector<Job> skipped = jobs_.take_skipped();
    std::vector<std::filesystem::path> files;
    for (const Job& job : skipped) files.push_back(job.file);
    results_.keep(files);
    display_.plan(found, skipped);
    return found;
  }

  // Tells of a picture that is not what --expect says: as it is in its file, where that loses something.
  void compare(const Finished& picture, const ModelInfo& model) {
    const bool lossy = results_.loses() && !picture.file.empty();
    const Image made = lossy ? read_picture(picture.file) : picture.image;
    const std::string why = unlike(*picture.expected.image, made, tolerance(model.precision));
    if (why.empty()) return;
    ++unexpected_;
    progress_.print(concat("sdgen: ", printable(picture.file.empty() ? "the picture" : picture.file.string(), 4096),
                           ": is not ", printable(picture.expected.name, 4096), ": ", why, "\n"));
  }

  const CommandLine& command_;
  const std::filesystem::path model_;
  Progress& progress_;
  Failures failures_;
  Jobs jobs_;
  Results results_;
  Display display_;
  std::atomic<std::size_t> unexpected_ = 0;
};

}  // namespace

int generate(const CommandLine& given, std::span<const OptionRow> rows) {
  Progress progress(given.options.output, terminal_columns());
  std::filesystem::path model = find_model(given.options.model);
  CommandLine command = given;
  const Options& options = command.options;
  command.defaults = merged(command.defaults, {{"--model", model_said(options.model)}});
  for (const std::string& warning : command.warnings) progress.warning(warning);
  Generation run(command, std::move(model), rows, progress);
  std::vector<Job> next = run.gather();
  for (const std::string& column : run.unused_columns())
    progress.note(concat("column '", printable(column, 60), "' is not an option and is not used"));
  if (!next.empty() || options.run.profile) {
    core().prepare(options.run.threads);
    core().draw(run, std::move(next));
  }
  if (progress.cancelled()) throw Cancelled();
  return run.end();
}

}  // namespace sdgen::cli
