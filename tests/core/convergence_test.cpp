// The samplers against mathematics: closed forms, the original PLMS, and the order with which each converges.
#include <ATen/ops/tensor.h>

#include <cmath>

#include "core/analytic.h"
#include "core/fixture.h"
#include "diffusion/denoiser.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/schedulers.h"

namespace sdgen {
namespace {

using at::Tensor;

const Noise kNone = []() -> Tensor { throw std::runtime_error("a deterministic sampler draws no noise"); };
Tensor start() { return at::tensor({1.7, -0.4, 0.3, -2.2}, at::kDouble).view({1, 1, 2, 2}); }

// Each row's formulas and a whole run of it, by the slope of log error against log calls.
TEST(Convergence, EachSamplerHasItsOrder) {
  using analytic::Path;
  for (const analytic::Row& row : analytic::rows()) {
    for (const Path path : {Path::own, Path::time}) {
      // A low order at the beginning shows late.
      const int steps = path == Path::own ? 96 : row.stochastic ? 192 : 1536;
      const auto coarse = measure(row, path, steps), fine = measure(row, path, 4 * steps);
      const double order = std::log(coarse.error / fine.error) / std::log(double(fine.calls) / coarse.calls);
      EXPECT_NEAR(order, path == Path::own ? row.own : row.time, 0.25)
          << row.name << (path == Path::own ? "" : ", whole run");
    }
  }
}

// What a network of a flow sees, and what its answer means, both wrong in turn: no run comes nearer to the truth.
TEST(Convergence, NoFlowConvergesByMistake) {
  int rows = 0;
  for (const analytic::Row& row : analytic::rows()) {
    if (!row.flow) continue;
    ++rows;
    const analytic::Mixture pictures = analytic::mixture_of(row);
    const Denoise right = denoise_of(row, pictures);
    const Denoise scaled = [&](const Tensor& x, const Node& at) {
      return right(x / std::hypot(at.alpha, at.sigma), at);
    };
    const Denoise swapped = [&](const Tensor& x, const Node& at) {
      return x - at.alpha / at.sigma * (x - right(x, at));  // alpha for sigma
    };
    for (const Denoise& wrong : {scaled, swapped})
      EXPECT_GT(measure(row, analytic::Path::own, 384, wrong).error, 100 * measure(row, analytic::Path::own, 384).error)
          << row.name;
  }
  EXPECT_GE(rows, 12);
}

// Of one picture, x0 is known and the noise stays what it is: x = alpha * x0 + sigma * noise at every node.
TEST(Ddim, EqualsTheClosedFormOfOnePicture) {
  const Tensor x0 = at::tensor({0.5, -0.25, 0.125, 0.9}, at::kDouble).view({1, 1, 2, 2});
  const Denoise known = [&x0](const Tensor&, const Node&) { return x0; };
  int rows = 0;
  for (const analytic::Row& row : analytic::rows()) {
    if (row.stochastic || !row.scheduler) continue;
    ++rows;
    const Config file({{"clip_sample", false}, {"beta_schedule", "scaled_linear"}}, "test");
    const Scheduler scheduler =
        Scheduler::choose(file, {row.scheduler, {}, analytic::prediction_of(row.flow), {}, {}, {}});
    for (int steps : {1, 3, 20}) {
      if (steps < 4 && row.name == "pndm") continue;
      const Grid grid = scheduler.grid({steps});
      std::vector<std::pair<Tensor, Node>> seen;
      const Denoise denoise = [&](const Tensor& x, const Node& at) {
        seen.emplace_back(x, at);
        return known(x, at);
      };
      const Tensor x = start() * grid.start_scale;
      const Node first = grid.steps.front().from;
      const Tensor noise = (x - first.alpha * x0) / first.sigma;
      seen.emplace_back(scheduler.sampler()(denoise, {grid.steps}, x, kNone), grid.steps.back().to);
      for (const auto& [latents, at] : seen)
        test::expect_close(latents, at.alpha * x0 + at.sigma * noise, 1e-9, row.name);
    }
  }
  EXPECT_GE(rows, 20);
}

// The sampler of the latent diffusion repository (CompVis, plms.py): times 1, 1 + 1000/N, ...; a pseudo improved Euler
// step first, then Adams-Bashforth of order 2, 3, 4.
TEST(Plms, EqualsTheOriginalFormulas) {
  const auto model = [](const Tensor& x, double t) { return 0.7 * x.tanh() + 0.001 * t * x.sin(); };
  Json keys{{"beta_start", 0.00085}, {"beta_end", 0.012}, {"beta_schedule", "scaled_linear"}, {"steps_offset", 1}};
  keys["set_alpha_to_one"] = false;
  const Scheduler scheduler = Scheduler::choose(Config(keys, "test"), {"plms", {}, {}, {}, {}, {}});
  const NoiseSchedule table(scheduler.config);
  const auto alpha_bar = [&table](int t) { return std::pow(table.node(t).alpha, 2); };
  for (int count : {2, 3, 5, 50}) {
    const int stride = 1000 / count;
    std::vector<Tensor> old;
    Tensor x = start();
    for (int index = count - 1; index >= 0; --index) {
      const int t = index * stride + 1;
      const double a = alpha_bar(t), before = alpha_bar(index > 0 ? t - stride : 0);
      const auto previous = [&](const Tensor& e) {
        return std::sqrt(before) * (x - std::sqrt(1 - a) * e) / std::sqrt(a) + std::sqrt(1 - before) * e;
      };
      const Tensor e = model(x, t);
      Tensor prime;
      if (old.empty())
        prime = (e + model(previous(e), index > 0 ? t - stride : t)) / 2;
      else if (old.size() == 1)
        prime = (3 * e - old[0]) / 2;
      else if (old.size() == 2)
        prime = (23 * e - 16 * old[1] + 5 * old[0]) / 12;
      else
        prime = (55 * e - 59 * old[2] + 37 * old[1] - 9 * old[0]) / 24;
      old.push_back(e);
      if (old.size() > 3) old.erase(old.begin());
      x = previous(prime);
    }
    const Grid grid = scheduler.grid({count});
    const Tensor got =
        scheduler.sampler()(denoiser(model, Prediction::epsilon, std::nullopt), {grid.steps}, start(), kNone);
    test::expect_close(got, x, 1e-10, std::to_string(count));
  }
}

}  // namespace
}  // namespace sdgen
