#include "program/draw.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "cli/lora_tags.h"
#include "cli/model_hashes.h"
#include "cli/process.h"
#include "cli/writer.h"
#include "device/device.h"
#include "device/profile.h"
#include "io/utf8.h"
#include "program/machine.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {
namespace {

// Jobs and their plans.
struct Planned {
  std::vector<Job> jobs;
  std::vector<Plan> plans;
};

Planned planned(const Pipeline& pipeline, std::vector<Job> jobs, Run& run) {
  Planned good;
  for (Job& job : jobs) {
    try {
      Plan plan = pipeline.plan(job.request, good.plans.empty() ? nullptr : &good.plans.back());
      run.require_keepable(plan.request());
      good.plans.push_back(std::move(plan));
      good.jobs.push_back(std::move(job));
    } catch (const Error& error) {
      run.failed(job, error);
    }
  }
  return good;
}

// Those with the same LoRAs one after the other, else in their order: each set is read into the networks once.
Planned by_loras(Planned all) {
  std::map<std::string, std::size_t> sets;
  std::vector<std::pair<std::size_t, std::size_t>> order;  // set, number
  for (std::size_t i = 0; i < all.jobs.size(); ++i) {
    std::string set;
    for (const Lora& lora : all.jobs[i].request.loras) set += written(lora) + '\n';
    order.emplace_back(sets.try_emplace(std::move(set), sets.size()).first->second, i);
  }
  if (sets.size() < 2) return all;
  std::ranges::sort(order);
  Planned sorted;
  for (const auto& [set, i] : order) {
    sorted.jobs.push_back(std::move(all.jobs[i]));
    sorted.plans.push_back(std::move(all.plans[i]));
  }
  return sorted;
}

// Makes the pictures of a run and hands them to a writer.
class Drawing {
 public:
  // Lines that arrive while pictures are made are drawn as they come, and find the text encoders where the last ones
  // left them; those of a file are known in time, and the encoders' memory is the other networks'.
  Drawing(Run& run, const Pipeline& pipeline) : run_(run), pipeline_(pipeline) {
    if (run.as_they_come()) session_ = pipeline.session();
  }

  Planned plan(std::vector<Job> jobs) {
    Planned good = planned(pipeline_, std::move(jobs), run_);
    return session_ ? std::move(good) : by_loras(std::move(good));
  }

  void make(Planned planned, Writer& writer) {
    auto& [jobs, plans] = planned;
    Progress& progress = run_.progress();
    std::vector<std::filesystem::path> files;
    for (const Job& job : jobs) files.push_back(job.file);
    progress.expect(std::move(files), run_.waiting(), /*more=*/!run_.ended());
    run_.expect(jobs);
    for (const Plan& plan : plans) say_loras(plan);
    const auto keep = [&](std::size_t i, Image image) {
      writer.add({std::move(jobs[i].file), std::move(image), plans[i].request(), &plans[i].scheduler(),
                  plans[i].loras(), jobs[i].sources, progress.computation(), progress.timings(), jobs[i].index,
                  jobs[i].expected});
    };
    Observer& observer = run_.observer();
    session_ ? session_->draw(plans, keep, observer) : pipeline_.draw(plans, keep, observer);
  }

 private:
  void say_loras(const Plan& plan) {
    for (const LoraInfo& lora : plan.loras())
      if (told_.insert(lora.path).second)
        run_.progress().note(concat("LoRA ", lora.name, ": ", lora.applied, " of ", lora.total, " modules applied"));
  }

  Run& run_;
  const Pipeline& pipeline_;
  std::optional<Pipeline::Session> session_;
  std::set<std::filesystem::path> told_;  // of these LoRAs
};

// The pictures of `next`, and of all jobs after them.
void draw_all(Run& run, std::vector<Job> next) {
  const Options& options = run.options();
  Progress& progress = run.progress();
  if (!run.prompts_differ()) Pipeline::check_prompt(run.model(), next.front().request);
  run.begin(machine());
  const ModelHashing hashing(run.model(), options.load, run.wants_hashes());
  const Pipeline pipeline = Pipeline::load(run.model(), options.load, progress);
  Drawing drawing(run, pipeline);
  Planned planned = drawing.plan(std::move(next));
  if (!planned.plans.empty()) pipeline.prepare(planned.plans.front(), progress);
  progress.begin(pipeline.info());
  const auto save = [&](Finished& picture) { run.save(picture, pipeline.info(), hashing); };
  Writer writer(save, std::size_t(options.load.batch_size) + 2, [&] { progress.stop(); });
  try {
    while (true) {
      drawing.make(std::move(planned), writer);
      if (next = run.gather(); next.empty()) break;
      planned = drawing.plan(std::move(next));
    }
  } catch (const Cancelled&) {
    extend_grace();
    writer.finish();  // throws what ended the run, where it was the writer
    throw;
  }
  writer.finish();
  progress.end();
  run.drawn(hashing);
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
