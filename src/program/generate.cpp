#include "program/generate.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <iterator>
#include <utility>

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

// What failed on its own, a line of a batch file or a picture of a folder: each is named, the others go on.
class Failures {
 public:
  Failures(const Options& options, Progress& progress)
      : options_(options),
        progress_(progress),
        several_(options.run.prompts || lists_inputs(options) || lists_records(options)) {}

  // Called where `error` is caught: tells and counts it when it is the line's alone, else throws it on.
  void take(const std::string& where, const Error& error) {
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
  std::size_t count() const { return count_; }
  // "2 lines failed"
  std::string summary() const {
    return concat(count_, options_.run.prompts ? " line" : " picture", count_ == 1 ? "" : "s", " failed");
  }

 private:
  const Options& options_;
  Progress& progress_;
  const bool several_;
  std::size_t count_ = 0;
  std::string last_;  // what failed last: several pictures of a line fail as one
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

  // With as many input pictures as fit into memory.
  std::vector<Job> gather() override {
    constexpr std::size_t most_bytes = 256'000'000;  // of pictures in memory
    jobs_.forget_pictures();
    std::vector<Job> found;
    while (found.empty() && !(waiting_.empty() && jobs_.ended()) && !progress_.cancelled()) {
      if (waiting_.empty()) gather_some();
      while (!waiting_.empty() && jobs_.picture_bytes() < most_bytes && !progress_.cancelled()) {
        Job job = std::move(waiting_.front());
        waiting_.pop_front();
        try {
          jobs_.read(job);
          found.push_back(std::move(job));
        } catch (const Error& error) {
          failures_.take(job.where, error);
        }
      }
    }
    tell_warnings();
    return found;
  }
  std::size_t waiting() const override { return waiting_.size(); }
  bool ended() const override { return jobs_.ended(); }
  std::vector<Job> take_skipped() override { return std::exchange(skipped_, {}); }
  bool prompts_differ() const override { return options().run.prompts || lists_records(options()); }
  bool as_they_come() const override {
    const auto& prompts = options().run.prompts;
    return prompts && !std::filesystem::is_regular_file(*prompts);
  }

  void begin(const Machine& machine) override {
    if (options().process.dry_run)
      results_.check();
    else
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
    for (const auto& [wanted, picture] : command_.model_sha256)
      if (hashes.get().model != wanted)
        progress_.warning(
            concat(printable(picture), ": its model was another file than ", printable(model_.string()), " is now"));
  }

  // What is said at the end. Returns the exit code.
  int end() {
    if (jobs_.none() && options().run.prompts)
      progress_.warning(concat(printable(*options().run.prompts), ": no line asks for a picture; nothing was drawn"));
    if (!options().process.dry_run) display_.end();
    if (failures_.count() > 0) progress_.note(failures_.summary());
    if (unexpected_ > 0)
      progress_.note(concat(unexpected_, unexpected_ == 1 ? " picture is" : " pictures are", " not as expected"));
    return failures_.count() + unexpected_ > 0 ? 1 : 0;
  }
  const std::vector<std::string>& unused_columns() const { return jobs_.unused_columns(); }

 private:
  // Reads lines until there is a job, or as many as are known without waiting. What is there already is reported.
  void gather_some() {
    constexpr std::size_t most = 100'000;  // requests in memory
    std::vector<Job> found;
    const auto none = [&] { return found.empty() && jobs_.skipped() == 0; };
    const auto room = [&] { return found.size() + jobs_.skipped() < most; };
    while ((none() || (room() && jobs_.ready())) && !progress_.cancelled()) {
      try {
        auto line = jobs_.next();
        if (!line) break;
        std::ranges::move(*line, std::back_inserter(found));
      } catch (const Error& error) {
        if (jobs_.unreadable()) throw;
        failures_.take("", error);
      }
      for (const auto& [where, error] : jobs_.take_failed()) failures_.take(where, error);
    }
    tell_warnings();
    std::vector<Job> skipped = jobs_.take_skipped();
    display_.plan(found, skipped);
    if (options().process.dry_run) {
      std::ranges::move(skipped, std::back_inserter(skipped_));
    } else {
      std::vector<std::filesystem::path> files;
      for (const Job& job : skipped) files.push_back(job.file);
      results_.keep(files);
    }
    std::ranges::move(found, std::back_inserter(waiting_));
  }

  void tell_warnings() {
    for (const std::string& warning : jobs_.take_warnings()) progress_.warning(warning);
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
  std::deque<Job> waiting_;   // planned, and their input pictures not read yet
  std::vector<Job> skipped_;  // with --dry-run: whose files are there already
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
  const bool dry = options.process.dry_run;
  if (dry || !next.empty() || options.run.profile) {
    core().prepare(options.run.threads);
    (dry ? core().dry_run : core().draw)(run, std::move(next));
  }
  if (progress.cancelled()) throw Cancelled();
  return run.end();
}

}  // namespace sdgen::cli
