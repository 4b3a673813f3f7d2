#include "generate.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "cli/jobs.h"
#include "cli/looking.h"
#include "cli/lora_tags.h"
#include "cli/manifest.h"
#include "cli/model_hashes.h"
#include "cli/model_path.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/results.h"
#include "cli/writer.h"
#include "device.h"
#include "io/file.h"
#include "io/utf8.h"
#include "profile.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {
namespace {

// Lines of a batch file that failed on their own: each is named, the others go on.
class Failures {
 public:
  Failures(const Options& options, Progress& progress) : options_(options), progress_(progress) {}

  // Called where `error` is caught: tells and counts it when it is the line's alone, else throws it on.
  void take(const std::string& where, const Error& error) {
    const bool alone = error.fault() == Fault::usage || error.fault() == Fault::input;
    if (!options_.prompts || !alone) throw;
    if (options_.fail_fast) throw Error(error.fault(), concat(where.empty() ? "" : concat(where, ": "), error.what()));
    progress_.print(concat("sdgen: ", where.empty() ? "" : concat(where, ": "), error.what(), "\n"));
    ++count_;
  }
  std::size_t count() const { return count_; }

 private:
  const Options& options_;
  Progress& progress_;
  std::size_t count_ = 0;
};

// Reads lines until there is a job, or as many as are known without waiting and fit into memory. Returns what is to be
// made; what is there already is told of.
std::vector<Job> gather_some(Jobs& jobs, Results& results, Looking& looking, Failures& failures, Progress& progress) {
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
  const std::vector<Job> skipped = jobs.take_skipped();
  std::vector<std::filesystem::path> files;
  for (const Job& job : skipped) files.push_back(job.file);
  results.keep(files);
  looking.plan(found, skipped);
  return found;
}

// The next jobs; at least one, unless there are no more.
std::vector<Job> gather(Jobs& jobs, Results& results, Looking& looking, Failures& failures, Progress& progress) {
  std::vector<Job> found;
  while (found.empty() && !jobs.ended() && !progress.cancelled())
    found = gather_some(jobs, results, looking, failures, progress);
  return found;
}

// Completes the jobs and makes their pictures, which go to the writer.
void make(const Pipeline& pipeline, std::vector<Job> jobs, Writer& writer, Looking& looking, Failures& failures,
          Progress& progress, bool more) {
  std::vector<Request> requests;
  std::vector<Job> good;
  for (Job& job : jobs) {
    try {
      requests.push_back(pipeline.complete(job.request));
      good.push_back(std::move(job));
    } catch (const Error& error) {
      failures.take(job.where, error);
    }
  }
  progress.expect(requests.size(), more);
  looking.expect(good);
  pipeline(
      requests,
      [&](std::size_t i, Image image) {
        writer.add({std::move(good[i].file), std::move(image), requests[i], good[i].sources, progress.computation(),
                    progress.timings(), good[i].index});
      },
      looking.observer());
}

// What a --from-image picture and the model's name add to what was said.
void settle(Options& options, Progress& progress) {
  if (options.request.prompt) take_lora_tags(*options.request.prompt, options.lora_dir, options.load.loras);
  for (Setting& setting : options.defaults)  // a line without a prompt has the picture's, whose tags were taken
    if (setting.option == "--prompt") setting.value = options.request.prompt.value_or("");
  options.defaults = merged(options.defaults, {{"--model", model_said(options.model)}});
  options.said = merged(options.given, options.defaults);
  for (const std::string& warning : options.warnings) progress.warning(warning);
}

void warn(const Jobs& jobs, Progress& progress) {
  for (const std::string& column : jobs.unused_columns())
    progress.note(concat("column '", printable(column, 60), "' is no option and not used"));
  if (jobs.choices_unheard())
    progress.warning("{a|b} and __name__ in prompts are text; with --wildcards DIR they are choices");
}

// The pictures of `jobs`, and of all that come after them.
void make_all(const Options& options, const std::filesystem::path& model, Jobs& jobs, std::vector<Job> next,
              Results& results, Looking& looking, Failures& failures, Progress& progress) {
  results.prepare();
  if (!options.prompts) Pipeline::check_prompt(model, next.front().request);
  if (jobs.random_seed()) progress.note(concat("seed ", jobs.first_seed()));
  const ModelHashing hashing(model, options.load, options.metadata || options.json || results.has_manifest());
  const Pipeline pipeline = Pipeline::load(model, options.load, progress);
  progress.begin(pipeline.info());
  const auto save = [&](Finished& picture) {
    results.save(picture, pipeline.info(), hashing);
    looking.finished(picture);
  };
  Writer writer(save, std::size_t(options.load.batch_size) + 2, [&] { progress.stop(); });
  try {
    for (; !next.empty(); next = gather(jobs, results, looking, failures, progress))
      make(pipeline, std::move(next), writer, looking, failures, progress, !jobs.ended());
  } catch (const Cancelled&) {
    extend_grace();
    writer.finish();  // throws what ended the run, where it was the writer
    throw;
  }
  writer.finish();
  progress.end();
  if (!options.model_sha256.empty() && hashing.get().model != options.model_sha256)
    progress.warning(concat(*options.from_image, ": its model was another file than ", model.string(), " is now"));
}

}  // namespace

int generate(Options options, std::span<const OptionRow> rows) {
  Progress progress(options.quiet, options.verbose, terminal_columns());
  Failures failures(options, progress);
  const std::filesystem::path model = find_model(options.model);
  settle(options, progress);
  options.load.stay_warm = options.prompts && !std::filesystem::is_regular_file(*options.prompts);
  std::optional<Profile> profile;
  if (options.profile) profile.emplace(*options.profile, options.overwrite, open_device(options.load.device).is_cuda());
  Jobs jobs(options, name_of(model), rows, [&progress] { return progress.cancelled(); });
  Results results(options, progress);
  Looking looking(options, jobs.sweep(), progress);
  std::vector<Job> next = gather(jobs, results, looking, failures, progress);
  warn(jobs, progress);
  if (!next.empty()) make_all(options, model, jobs, std::move(next), results, looking, failures, progress);
  if (profile) profile->write();
  if (progress.cancelled()) throw Cancelled();
  looking.end();
  if (failures.count() > 0)
    progress.note(concat(failures.count(), failures.count() == 1 ? " line failed" : " lines failed"));
  return failures.count() > 0 ? 1 : 0;
}

}  // namespace sdgen::cli
