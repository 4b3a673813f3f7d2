// sdgen_pictures: many pictures of one model in one process, for tools/solver_quality.py.
//
//   sdgen_pictures MODEL BATCH_SIZE <requests >pictures
//
// Reads lines of JSON from standard input: {"prompt", "seed", "steps", "scheduler", "sigma_schedule"}; absent keys are
// the model's own. For each line it writes a line of JSON to standard output, {"calls", "width", "height"} or
// {"error"}, and after the former width * height * 3 bytes, RGB. float32 on one thread of the CPU.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "sdgen/sdgen.h"

namespace {

using nlohmann::json;

struct Calls : sdgen::Observer {
  void step(std::size_t, std::size_t, int, int total) override { calls = total; }
  int calls = 0;
};

sdgen::Request request_of(const json& line) {
  sdgen::Request r;
  r.prompt = line.at("prompt").get<std::string>();
  r.seed = line.at("seed").get<std::uint64_t>();
  if (line.contains("steps")) r.steps = line["steps"].get<int>();
  if (line.contains("scheduler")) r.scheduler = line["scheduler"].get<std::string>();
  if (line.contains("sigma_schedule")) r.sigma_schedule = line["sigma_schedule"].get<std::string>();
  return r;
}

void answer(const sdgen::Pipeline& pipeline, const std::vector<sdgen::Plan>& plans) {
  Calls watch;
  pipeline.draw(
      plans,
      [&](std::size_t, const sdgen::Image& image) {
        std::cout << json{{"calls", watch.calls}, {"width", image.width}, {"height", image.height}} << '\n';
        std::cout.write(reinterpret_cast<const char*>(image.rgb.data()),
                        static_cast<std::streamsize>(image.rgb.size()));
      },
      watch);
  std::cout.flush();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: sdgen_pictures MODEL BATCH_SIZE <requests >pictures\n";
    return static_cast<int>(sdgen::Fault::usage);
  }
  try {
    const sdgen::Runtime runtime(1);
    const std::size_t most = std::stoul(argv[2]);
    sdgen::LoadOptions options{.device = "cpu", .precision = sdgen::Precision::float32};
    options.batch_size = static_cast<int>(most);
    sdgen::Observer quiet;
    const sdgen::Pipeline pipeline = sdgen::Pipeline::load(argv[1], options, quiet);
    std::vector<sdgen::Plan> waiting;
    for (std::string text; std::getline(std::cin, text);) {
      try {
        waiting.push_back(pipeline.plan(request_of(json::parse(text))));
      } catch (const sdgen::Error& error) {
        answer(pipeline, waiting);
        waiting.clear();
        std::cout << json{{"error", error.what()}} << std::endl;
      }
      if (waiting.size() == most) answer(pipeline, waiting), waiting.clear();
    }
    answer(pipeline, waiting);
    return 0;
  } catch (const sdgen::Error& error) {
    std::cerr << "sdgen_pictures: " << error.what() << '\n';
    return static_cast<int>(error.fault());
  }
}
