// Where the time goes: makes the same picture several times in one process and prints, as one JSON object on stdout,
// what each stage took (seconds; minimum and median over the runs, the first run apart) and the peak memory.
//   sdgen_bench -m models/default --steps 20 --runs 5
// With --serve it loads the model and makes a picture (or a batch of the same) for every line of stdin ("picture WIDTH
// HEIGHT"), each answered by a line of JSON: for tools/bench.py, which has it take turns with others. With --samplers also
// what every scheduler itself takes of a step on the CPU: a run whose network answers at once with a tensor that it has,
// so that what is left is guidance, x0, the sampler's arithmetic and its noise.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <c10/core/InferenceMode.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "diffusion/denoiser.h"
#include "diffusion/noise.h"
#include "diffusion/schedulers.h"
#include "families/families.h"
#include "formats/quantize.h"
#include "sdgen/sdgen.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Collects the stages of every run, and the single steps.
struct Stopwatch : sdgen::Observer {
  void stage(sdgen::Stage stage, std::size_t, double seconds) override {
    runs.back()[sdgen::stage_name(stage)] += seconds;
  }
  void step(std::size_t, std::size_t, int done, int) override {
    if (done > 1) steps.push_back(seconds_since(last));  // the first has the warm-up of its shapes in it
    last = Clock::now();
  }
  void warning(const std::string& message) override { std::fprintf(stderr, "sdgen_bench: %s\n", message.c_str()); }

  std::vector<std::map<std::string, double>> runs{1};
  std::vector<double> steps;
  Clock::time_point last;
};

nlohmann::json summary(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {{"min", values.front()}, {"median", values[values.size() / 2]}};
}

double peak_memory_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024.0;
}

nlohmann::json measure(const std::string& model, const sdgen::LoadOptions& options, sdgen::Request request, int runs) {
  Stopwatch watch;
  const auto begin = Clock::now();
  const sdgen::Pipeline pipeline = sdgen::Pipeline::load(model, options, watch);
  const std::vector<sdgen::Plan> batch(options.batch_size, pipeline.plan(request));
  request = batch[0].request();
  pipeline.prepare(batch[0], watch);
  const double load = watch.runs[0].at("load");
  double first = 0;
  for (int run = 0; run <= runs; ++run) {  // run 0 is the first picture, with every warm-up in it
    watch.runs.emplace_back();
    if (run == 1) watch.steps.clear();
    const auto start = Clock::now();
    pipeline.draw(
        batch, [](std::size_t, sdgen::Image) {}, watch);
    watch.runs.back()["total"] = seconds_since(start);
    if (run == 0) first = seconds_since(begin);
  }
  nlohmann::json stages;
  for (const char* name : {"text", "denoise", "decode", "total"}) {
    std::vector<double> values;
    for (std::size_t i = 2; i < watch.runs.size(); ++i) values.push_back(watch.runs[i].at(name));
    stages[name] = summary(std::move(values));
  }
  const sdgen::ModelInfo& info = pipeline.info();
  nlohmann::json result = {{"model", info.name},
                           {"device", info.device},
                           {"dtype", info.precision},
                           {"width", *request.width},
                           {"height", *request.height},
                           {"steps", *request.steps},
                           {"scheduler", batch[0].scheduler().name},
                           {"guidance_scale", request.guidance_scale.value_or(1)},
                           {"batch_size", options.batch_size},
                           {"runs", runs},
                           {"load", load},
                           {"first_picture", first},
                           {"stages", stages},
                           {"peak_memory_mb", peak_memory_mb()}};
  if (!watch.steps.empty()) result["step"] = summary(watch.steps);
  return result;
}

// A picture, or a batch of the same, for every line of stdin.
void serve(const std::string& model, const sdgen::LoadOptions& options, sdgen::Request request) {
  Stopwatch watch;
  const sdgen::Pipeline pipeline = sdgen::Pipeline::load(model, options, watch);
  pipeline.prepare(pipeline.plan(request), watch);
  sdgen::Pipeline::Session session = pipeline.session();
  const std::string prompt = *request.prompt;
  std::printf("%s\n", nlohmann::json{{"load", watch.runs[0].at("load")}}.dump().c_str());
  std::fflush(stdout);
  int made = 0;
  int width = 0, height = 0;
  for (std::string line;
       std::getline(std::cin, line) && std::sscanf(line.c_str(), "picture %d %d", &width, &height) == 2;) {
    request.width = width;
    request.height = height;
    request.prompt = prompt + ' ' + std::to_string(++made);  // what a prompt becomes is remembered
    watch.runs = {{}};
    watch.steps.clear();
    const auto start = Clock::now();
    const std::vector<sdgen::Plan> batch(options.batch_size, pipeline.plan(request));
    session.draw(
        batch, [](std::size_t, sdgen::Image) {}, watch);
    nlohmann::json answer = watch.runs[0];
    answer["total"] = seconds_since(start);
    answer["steps"] = watch.steps;
    std::printf("%s\n", answer.dump().c_str());
    std::fflush(stdout);
  }
}

// Seconds a network call of each scheduler, without the network; shares are of `step`. Rounds of all rows, so that what
// else the machine does meets all alike.
nlohmann::json measure_samplers(const std::string& model, const sdgen::Request& request, int pictures, int runs,
                                double step) {
  const c10::InferenceMode inference;
  const sdgen::Parts parts =
      sdgen::assemble(model, {at::kCPU, sdgen::Precision::float32, {}}, [](const std::string&) {});
  const std::vector<std::int64_t> shape = {parts.latents.channels, *request.height / parts.latents.factor,
                                           *request.width / parts.latents.factor};
  const std::vector<std::uint64_t> seeds(pictures, 0);
  std::map<std::string, std::vector<double>> times;
  for (int run = 0; run <= runs; ++run) {
    for (const sdgen::SchedulerRow& row : sdgen::scheduler_rows()) {
      std::optional<std::string> prediction;
      if (!row.diffusion) prediction = "flow_prediction";
      const auto scheduler =
          sdgen::Scheduler::choose(parts.scheduler, {row.name, {}, prediction, {}, {}, {}}, parts.rules.quirks);
      const sdgen::Grid grid = scheduler.grid({*request.steps});
      sdgen::SeededNoise noise(seeds, shape, at::kCPU);
      const at::Tensor x = noise(), answer = at::cat({x, x});
      const sdgen::Network network = [&answer](const at::Tensor&, double) { return answer; };
      const sdgen::Denoise denoise =
          sdgen::denoiser(network, scheduler.config.prediction, sdgen::Guidance{*request.guidance_scale});
      const auto begin = Clock::now();
      scheduler.sampler()(denoise, {grid.steps}, x * grid.start_scale, std::ref(noise));
      if (run > 0) times[row.name].push_back(seconds_since(begin) / static_cast<double>(grid.steps.size()));
    }
  }
  nlohmann::json result;
  for (auto& [name, values] : times) {
    result[name] = summary(std::move(values));
    result[name]["share"] = result[name]["median"].get<double>() / step;
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times the stages of sdgen and prints them as JSON (seconds)."};
  std::string model, dtype = "auto";
  sdgen::LoadOptions options;
  sdgen::Request request;
  int runs = 5, threads = 0;
  bool samplers = false, serving = false;
  request.prompt = "a red apple on a blue background";
  request.seed = 0;
  app.add_option("-m,--model", model, "diffusers folder")->required();
  app.add_option("--device", options.device);
  app.add_option("--dtype", dtype)->check(CLI::IsMember({"auto", "float32", "float16", "bfloat16"}));
  std::map<std::string, sdgen::Quantize> codes;
  for (const auto how : {sdgen::Quantize::none, sdgen::Quantize::q8_0, sdgen::Quantize::q4_k, sdgen::Quantize::float8,
                         sdgen::Quantize::int8})
    codes.emplace(sdgen::quantize_name(how), how);
  app.add_option("--quantize", options.quantize)->transform(CLI::CheckedTransformer(codes));
  app.add_option("--threads", threads);
  app.add_option("--batch-size", options.batch_size)->check(CLI::PositiveNumber);
  app.add_option("-W,--width", request.width);
  app.add_option("-H,--height", request.height);
  app.add_option("--steps", request.steps);
  app.add_option("--scheduler", request.scheduler);
  app.add_option("-g,--guidance-scale", request.guidance_scale);
  app.add_option("--runs", runs, "timed runs after the first")->check(CLI::PositiveNumber);
  app.add_flag("--serve", serving, "a picture for every line of stdin");
  app.add_flag("--samplers", samplers, "also every scheduler's own arithmetic (CPU, float32)");
  CLI11_PARSE(app, argc, argv);
  const std::map<std::string, sdgen::Precision> precisions = {{"auto", sdgen::Precision::automatic},
                                                              {"float32", sdgen::Precision::float32},
                                                              {"float16", sdgen::Precision::float16},
                                                              {"bfloat16", sdgen::Precision::bfloat16}};
  options.precision = precisions.at(dtype);
  try {
    const sdgen::Runtime runtime(threads);
    if (serving) {
      serve(model, options, request);
      return 0;
    }
    nlohmann::json result = measure(model, options, request, runs);
    if (samplers) {
      request.width = result["width"], request.height = result["height"], request.steps = result["steps"];
      request.guidance_scale = result["guidance_scale"];
      result["samplers"] = measure_samplers(model, request, options.batch_size, 10 * runs, result["step"]["median"]);
    }
    std::printf("%s\n", result.dump(2).c_str());
    return 0;
  } catch (const sdgen::Error& error) {
    std::fprintf(stderr, "sdgen_bench: %s\n", error.what());
    return static_cast<int>(error.fault());
  }
}
