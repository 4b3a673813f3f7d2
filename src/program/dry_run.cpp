#include "program/dry_run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "cli/process.h"
#include "cli/record.h"
#include "device/device.h"
#include "io/json.h"
#include "io/text.h"
#include "io/utf8.h"
#include "pipeline/estimate.h"
#include "program/machine.h"
#include "program/run.h"

namespace sdgen::cli {
namespace {

std::string gigabytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, bytes < 100'000'000 ? "%.3f GB" : "%.2f GB", double(bytes) / 1e9);
  return text;
}

// 0.4 s, 12 s, 3 min 20 s, 2 h 5 min
std::string duration(double seconds) {
  if (seconds < 10) return concat(std::round(seconds * 10) / 10, " s");
  const auto whole = std::llround(seconds);
  if (whole < 60) return concat(whole, " s");
  if (whole < 3600) return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", whole / 60 % 60, " min");
}

// What its existence means for a file that is not skipped.
bool is_there(const std::filesystem::path& file) {
  std::error_code error;
  return !file.empty() && std::filesystem::exists(file, error);
}

class PlanReport {
 public:
  PlanReport(bool json, const ModelInfo& model, const LoadOptions& options)
      : json_(json), model_(model), made_as_{options.batch_size, options.vae_tiling} {}

  void skipped(const Job& job) {
    ++skipped_;
    const std::string file = job.file.string();
    say(OrderedJson{{"file", file}, {"skipped", true}}, concat(file, "  is there already"));
  }

  void picture(const Job& job, const Plan& plan) {
    const Request& r = plan.request();
    const std::string file = job.file.empty() ? "-" : job.file.string();
    OrderedJson line{{"file", file}, {"exists", is_there(job.file)}};
    line.update(record({*job.sources, r, plan.scheduler(), made_as_, model_, plan.loras(), hashes_}));
    const std::string input = job.where.empty() ? "" : concat("  (", job.where, ")");
    say(line, concat(file, "  ", *r.width, 'x', *r.height, ", ", *r.steps, *r.steps == 1 ? " step" : " steps", " of ",
                     plan.scheduler().name, r.guidance_scale ? concat(", guidance ", *r.guidance_scale) : std::string(),
                     r.init_image && r.strength ? concat(", strength ", *r.strength) : std::string(), ", seed ",
                     *r.seed, r.prompt ? concat(": ", *r.prompt) : std::string(), input));
  }

  void end(const Estimate& e) {
    const bool fits = !e.free || e.memory <= *e.free;
    if (json_) {
      OrderedJson summary{{"model", model_.path.string()},
                          {"family", model_.family},
                          {"device", model_.device},
                          {"precision", model_.precision},
                          {"pictures", e.pictures},
                          {"skipped", skipped_},
                          {"batches", e.batches},
                          {"batch_size", made_as_.batch_size},
                          {"network_calls", e.calls},
                          {"weights",
                           {{"text_encoders", e.text_bytes},
                            {"denoising_networks", e.step_bytes},
                            {"autoencoder", e.autoencoder_bytes}}},
                          {"activations", e.activation_bytes},
                          {"memory", e.memory},
                          {"free_memory", e.free ? OrderedJson(*e.free) : OrderedJson()},
                          {"in_turns", e.in_turns},
                          {"operations", e.operations},
                          {"seconds", e.seconds ? OrderedJson(std::round(*e.seconds * 100) / 100) : OrderedJson()},
                          {"kinds", e.kinds},
                          {"kinds_counted", e.counted}};
      write_stdout(line_of_json(OrderedJson{{"summary", summary}}) + "\n");
      return;
    }
    std::string text = "\n";
    const auto add = [&text](const std::string& label, const auto&... what) {
      text += "  " + label + std::string(16 - label.size(), ' ') + printable(concat(what...)) + "\n";
    };
    add("model", model_.name, ", ", model_.family, ", on ", model_.device, " in ", model_.precision);
    add("pictures", e.pictures, skipped_ > 0 ? concat("; ", skipped_, " are there already") : std::string());
    add("network calls", e.calls, ", for ", e.batches, e.batches == 1 ? " batch" : " batches", " of ",
        made_as_.batch_size);
    if (e.pictures > 0) {
      add("weights", "text encoders ", gigabytes(e.text_bytes), ", denoising ", gigabytes(e.step_bytes),
          ", autoencoder ", gigabytes(e.autoencoder_bytes));
      add("memory", "about ", gigabytes(e.memory), " at most, ", gigabytes(e.activation_bytes), " of it activations",
          e.free ? concat("; ", gigabytes(*e.free), " are free") : std::string(),
          e.in_turns ? "; text encoders go before the denoising network comes" : "",
          fits ? "" : "; it is too much: smaller batches, tiles and layers in turn would be tried");
      add("time",
          e.seconds        ? concat("at least ", duration(*e.seconds), ", and loading")
          : e.counted == 0 ? "not known for such pictures"
                           : "not measured on this device",
          e.counted < e.kinds ? concat("; ", e.counted, " of ", e.kinds, " kinds of pictures were counted")
                              : std::string());
    }
    write_stdout(text);
  }

 private:
  void say(const OrderedJson& json, const std::string& text) {
    write_stdout(json_ ? line_of_json(json) + "\n" : printable(text) + "\n");
  }

  const bool json_;
  const ModelInfo model_;
  const Computation made_as_;
  const ModelHashes hashes_ = {};  // of files of gigabytes: a real run has them
  std::size_t skipped_ = 0;
};

// The options of a pipeline on paper, in the precision of the real one.
LoadOptions on_paper(LoadOptions options, at::Device device) {
  // A GPU's own half type is the checkpoint's; which of them makes no difference here.
  if (options.precision == Precision::automatic && device.is_cuda()) options.precision = Precision::float16;
  options.device = kOnPaper;
  options.vae_tiling = false;  // whose moments are numbers
  return options;
}

}  // namespace

void dry_run(Run& run, std::vector<Job> next) {
  const Options& options = run.options();
  Progress& progress = run.progress();
  if (!run.prompts_differ() && !next.empty()) Pipeline::check_prompt(run.model(), next.front().request);
  run.begin(machine());
  const at::Device device = open_device(options.load.device);
  const Pipeline pipeline = Pipeline::load(run.model(), on_paper(options.load, device), progress);
  ModelInfo model = pipeline.info();
  model.device = device.str();
  PlanReport report(options.output.json, model, options.load);
  Estimator estimator(pipeline, options.load, options.load.device);
  std::optional<Plan> last;
  for (;; next = run.gather()) {
    for (const Job& job : run.take_skipped()) report.skipped(job);
    for (Job& job : next) {
      try {
        Plan plan = pipeline.plan(job.request, last ? &*last : nullptr);
        run.require_keepable(plan.request());
        last = std::move(plan);
        report.picture(job, *last);
        estimator.add(*last);
      } catch (const Error& error) {
        run.failed(job, error);
      }
    }
    if (progress.cancelled()) throw Cancelled();
    if (next.empty()) break;
  }
  report.end(estimator.result(progress));
}

}  // namespace sdgen::cli
