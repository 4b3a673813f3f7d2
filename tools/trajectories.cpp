// sdgen_trajectories: what sdgen's schedulers do on the toy network, for comparison with diffusers
// (tools/scheduler_parity.py).
//
// Reads lines of JSON from standard input: first the noise, [n][numbers], of pictures shaped [2, 2, 1, numbers / 4];
// then cases (tests/fixtures/README.md). Writes a line for each case: {"timesteps", "start_scale", "draws", "first",
// "latents": after every network call} or {"error"}.
//
// sdgen_trajectories --convergence: instead, for tools/plot_convergence.py, how the error falls with the calls where
// the truth is known: a line for each row and path, {"name", "path", "order", "stochastic", "row": not a variant of
// one, "calls", "errors"}.
#include <ATen/Parallel.h>
#include <ATen/ops/tensor.h>

#include <iostream>
#include <string>
#include <vector>

#include "core/analytic.h"
#include "core/toy.h"
#include "io/json.h"
#include "sdgen/error.h"

namespace {

std::vector<double> numbers(const at::Tensor& x) {
  const at::Tensor flat = x.contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

at::Tensor read_noise(const std::string& line) {
  const sdgen::Json json = sdgen::parse_json(line, "standard input, line 1");
  std::vector<double> all;
  for (const sdgen::Json& row : json)
    for (const sdgen::Json& x : row) all.push_back(x.get<double>());
  const auto count = static_cast<std::int64_t>(json.size());
  return at::tensor(all, at::kDouble).view({count, 2, 2, 1, -1});
}

sdgen::Json answer(const sdgen::Json& c, const at::Tensor& noise) {
  try {
    const sdgen::toy::Trajectory got = sdgen::toy::run(sdgen::toy::scheduler_of(c), c, noise);
    sdgen::Json latents = sdgen::Json::array();
    for (std::size_t i = 1; i < got.latents.size(); ++i) latents.push_back(numbers(got.latents[i]));
    return {{"timesteps", got.timesteps},
            {"start_scale", got.start_scale},
            {"draws", got.draws},
            {"first", numbers(got.latents.front())},
            {"latents", latents}};
  } catch (const sdgen::Error& error) {
    return {{"error", error.what()}};
  }
}

void print_convergence() {
  using sdgen::analytic::Path;
  for (const sdgen::analytic::Row& row : sdgen::analytic::rows()) {
    for (const Path path : {Path::own, Path::time}) {
      std::vector<int> calls;
      std::vector<double> errors;
      for (const int groups : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256}) {
        const auto result = sdgen::analytic::measure(row, path, groups * sdgen::analytic::kStepsTogether);
        calls.push_back(result.calls), errors.push_back(result.error);
      }
      const sdgen::Json line{{"name", row.name},
                             {"path", path == Path::own ? "own" : "time"},
                             {"order", path == Path::own ? row.own : row.time},
                             {"stochastic", row.stochastic},
                             {"row", row.scheduler == row.name},
                             {"calls", calls},
                             {"errors", errors}};
      std::cout << line.dump() << '\n';
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    at::set_num_threads(1);
    if (argc == 2 && std::string(argv[1]) == "--convergence") {
      print_convergence();
      return std::cout.flush() ? 0 : static_cast<int>(sdgen::Fault::output);
    }
    std::string line;
    std::getline(std::cin, line);
    const at::Tensor noise = read_noise(line);
    while (std::getline(std::cin, line)) std::cout << answer(sdgen::parse_json(line, "a case"), noise).dump() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "sdgen_trajectories: " << error.what() << '\n';
    return static_cast<int>(sdgen::Fault::internal);
  }
  return std::cout.flush() ? 0 : static_cast<int>(sdgen::Fault::output);
}
