#include "program/draw.h"

#include <optional>
#include <utility>

#include "cli/manifest.h"
#include "cli/model_hashes.h"
#include "cli/process.h"
#include "cli/writer.h"
#include "device/device.h"
#include "device/profile.h"
#include "io/utf8.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {
namespace {

// Plans the jobs and makes their pictures, which go to the writer.
void make(const Pipeline& pipeline, std::optional<Pipeline::Session>& session, std::vector<Job> jobs, Writer& writer,
          Run& run) {
  std::vector<Plan> plans;
  std::vector<Job> good;
  for (Job& job : jobs) {
    try {
      plans.push_back(pipeline.plan(job.request, plans.empty() ? nullptr : &plans.back()));
      good.push_back(std::move(job));
    } catch (const Error& error) {
      run.failures.take(job.where, error);
    }
  }
  Progress& progress = run.progress;
  progress.expect(plans.size(), /*more=*/!run.jobs.ended());
  for (const Job& job : good) run.results.expect(job.file);
  run.display.expect(good);
  const auto keep = [&](std::size_t i, Image image) {
    writer.add({std::move(good[i].file), std::move(image), plans[i].request(), &plans[i].scheduler(), good[i].sources,
                progress.computation(), progress.timings(), good[i].index});
  };
  session ? session->draw(plans, keep, run.display.observer()) : pipeline.draw(plans, keep, run.display.observer());
}

// The pictures of `next`, and of all jobs after them.
void draw_all(Run& run, std::vector<Job> next) {
  const Options& options = run.options();
  Results& results = run.results;
  Progress& progress = run.progress;
  results.prepare();
  if (!options.run.prompts) Pipeline::check_prompt(run.model, next.front().request);
  if (run.jobs.random_seed()) progress.note(concat("seed ", run.jobs.first_seed()));
  const ModelHashing hashing(run.model, options.load,
                             options.output.metadata || options.output.json || results.has_manifest());
  const Pipeline pipeline = Pipeline::load(run.model, options.load, progress);
  // Lines that arrive while pictures are made find the text encoders where the last ones left them; those of a file are
  // known in time, and the encoders' memory is the other networks'.
  std::optional<Pipeline::Session> session;
  if (options.run.prompts && !std::filesystem::is_regular_file(*options.run.prompts)) session = pipeline.session();
  progress.begin(pipeline.info());
  const auto save = [&](Finished& picture) {
    results.save(picture, pipeline.info(), hashing);
    run.display.finished(picture);
  };
  Writer writer(save, std::size_t(options.load.batch_size) + 2, [&] { progress.stop(); });
  try {
    for (; !next.empty(); next = run.gather()) make(pipeline, session, std::move(next), writer, run);
  } catch (const Cancelled&) {
    extend_grace();
    writer.finish();  // throws what ended the run, where it was the writer
    throw;
  }
  writer.finish();
  progress.end();
  if (const std::string& wanted = run.command.model_sha256; !wanted.empty() && hashing.get().model != wanted)
    progress.warning(
        concat(*options.process.from_image, ": its model was another file than ", run.model.string(), " is now"));
}

}  // namespace

void draw(Run& run, std::vector<Job> next) {
  const Options& options = run.options();
  std::optional<Profile> profile;
  if (options.run.profile)
    profile.emplace(*options.run.profile, options.output.existing != Existing::refused,
                    open_device(options.load.device).is_cuda());
  if (!next.empty()) draw_all(run, std::move(next));
  if (profile) profile->write();
}

}  // namespace sdgen::cli
