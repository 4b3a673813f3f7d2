// The samplers against mathematics: closed forms, the original PLMS, and the order with which each converges.
#include <cmath>

#include "core/fixture.h"
#include "diffusion/denoiser.h"
#include "diffusion/schedulers.h"

namespace sdgen {
namespace {

using at::Tensor;

Node preserving(double ratio) { return {0, 1 / std::hypot(1, ratio), ratio / std::hypot(1, ratio)}; }  // sigma / alpha
Node exploding(double sigma) { return {0, 1, sigma}; }

const Noise kNone = []() -> Tensor { throw std::runtime_error("a deterministic sampler draws no noise"); };
Tensor start() { return at::tensor({1.7, -0.4, 0.3, -2.2}, at::kDouble).view({1, 1, 2, 2}); }

// Pictures from a normal distribution of this mean and deviation: its denoiser, and where the probability flow leads.
constexpr double kMean = 0.6, kDeviation = 0.8;
double spread(const Node& n) { return std::hypot(n.alpha * kDeviation, n.sigma); }
Tensor gaussian(const Tensor& x, const Node& n) {
  const double gain = n.alpha * kDeviation * kDeviation / (spread(n) * spread(n));
  return kMean + gain * (x - n.alpha * kMean);
}
Tensor flow(const Tensor& x, const Node& a, const Node& b) {
  return b.alpha * kMean + spread(b) / spread(a) * (x - a.alpha * kMean);
}

SchedulerConfig config_of(const char* name, Json keys) {
  keys["timestep_spacing"] = "linspace";
  return Scheduler::choose(Config(keys, "test"), {name, {}, {}, {}, {}, {}}).config;
}

std::vector<Step> chain(const std::vector<Node>& nodes) {
  std::vector<Step> steps;
  for (std::size_t i = 0; i + 1 < nodes.size(); ++i) steps.push_back({nodes[i], nodes[i + 1]});
  return steps;
}

// From ratio e^1.5 to e^-1.5, evenly in its logarithm; the first `small` steps are squares of the others', so that the
// low orders with which a multistep method begins do not show.
std::vector<Node> even_logarithms(int count, int small, Node (*node)(double)) {
  std::vector<double> sizes(count + small, 1.0);
  const double usual = 3.0 / count;
  for (int i = 0; i < small; ++i) sizes[i] = usual;
  double total = 0, place = 1.5;
  for (double size : sizes) total += size;
  std::vector<Node> nodes{node(std::exp(place))};
  for (double size : sizes) nodes.push_back(node(std::exp(place -= 3 * size / total)));
  return nodes;
}

double error_of(const Sampler& sampler, const std::vector<Step>& steps, const Node& last) {
  const Tensor x = sampler(gaussian, {steps}, start(), kNone), exact = flow(start(), steps.front().from, last);
  return test::relative_difference(x, exact);
}

// The slope of log error against log of the number of steps, from 48 to 192.
double order_of(const std::function<double(int)>& error) { return std::log2(error(48) / error(192)) / 2; }

TEST(Convergence, EachSamplerHasItsOrder) {
  const Json open{{"lower_order_final", false}, {"final_sigmas_type", "sigma_min"}};
  const auto with = [&open](const char* key, const Json& value) {
    Json keys = open;
    keys[key] = value;
    return keys;
  };
  Json dpm = with("algorithm_type", "dpmsolver");
  dpm["_class_name"] = "DPMSolverMultistepScheduler";
  Json single = with("solver_type", "heun");
  single["_class_name"] = "DPMSolverSinglestepScheduler";
  const auto own = [](Json keys, int order) {
    keys["solver_order"] = order;
    return Scheduler::choose(Config(keys, "test"), {}).config;
  };
  struct Row {
    const char* name;
    Sampler sampler;
    Node (*node)(double);
    double order;
    int small;  // first steps
  };
  const Row rows[] = {
      {"ddim", ddim(config_of("ddim", {{"clip_sample", false}})), preserving, 1, 0},
      {"euler", euler(config_of("euler", open)), exploding, 1, 0},
      {"lms", lms(config_of("lms", open)), exploding, 4, 4},
      {"dpm++2m", dpm_solver_multistep(config_of("dpm++2m", open)), preserving, 2, 1},
      {"dpm++2m, heun", dpm_solver_multistep(config_of("dpm++2m", with("solver_type", "heun"))), preserving, 2, 1},
      // Of order 3 by name; the formulas that diffusers has lack a factor 2 in the curvature.
      {"dpm++3m", dpm_solver_multistep(config_of("dpm++3m", open)), preserving, 2, 3},
      {"dpm 2", dpm_solver_multistep(own(dpm, 2)), preserving, 2, 1},
      {"dpm++2s", dpm_solver_singlestep(config_of("dpm++2s", open)), preserving, 2, 0},
      {"dpm++3s", dpm_solver_singlestep(own(single, 3)), preserving, 3, 0},
      {"unipc", unipc(config_of("unipc", open)), preserving, 3, 2},  // the corrector adds one to solver_order
      {"unipc 3", unipc(config_of("unipc", with("solver_order", 3))), preserving, 4, 3},
      {"unipc bh1", unipc(config_of("unipc", with("solver_type", "bh1"))), preserving, 3, 2},
      {"unipc noise", unipc(config_of("unipc", with("predict_x0", false))), preserving, 3, 2},
      {"deis", deis(config_of("deis", open)), preserving, 2, 1},
      {"deis 3", deis(config_of("deis", with("solver_order", 3))), preserving, 3, 3},
  };
  for (const Row& row : rows) {
    const double order = order_of([&row](int count) {
      const std::vector<Node> nodes = even_logarithms(count, row.small, row.node);
      return error_of(row.sampler, chain(nodes), nodes.back());
    });
    EXPECT_NEAR(order, row.order, 0.3) << row.name;
  }
}

TEST(Convergence, TwoStageSamplersHaveOrderTwo) {
  const auto error = [](const Sampler& sampler, bool midpoints) {
    return [&sampler, midpoints](int count) {
      const std::vector<Node> nodes = even_logarithms(count, 0, exploding);
      std::vector<Step> steps;
      for (const auto& [a, b, via] : chain(nodes)) {
        const Node middle = midpoints ? exploding(std::sqrt(a.sigma * b.sigma)) : b;
        steps.push_back({a, middle});
        steps.push_back({middle, b});
      }
      return error_of(sampler, steps, nodes.back());
    };
  };
  EXPECT_NEAR(order_of(error(heun(config_of("heun", {{"clip_sample", false}})), false)), 2, 0.2);
  EXPECT_NEAR(order_of(error(dpm2(config_of("dpm2", Json::object())), true)), 2, 0.2);
}

// The Adams-Bashforth weights of PNDM are those of even steps, here in sigma / alpha: after Runge-Kutta steps its order
// is 4, after the improved Euler step at least 3.
TEST(Convergence, PndmHasItsOrders) {
  const auto ratio = [](double i, int count) { return preserving(3 - 2.5 * i / count); };
  const auto plms_error = [&](int count) {
    std::vector<Step> steps;
    for (int k = 0; k <= count; ++k) {
      const int i = k < 2 ? k : k - 1;
      steps.push_back({ratio(i, count), ratio(i + 1, count), ratio(i - 1, count)});
    }
    return error_of(pndm(config_of("plms", Json::object())), steps, ratio(count, count));
  };
  const auto pndm_error = [&](int count) {
    std::vector<Step> steps;
    for (int i = 0; i < 3; ++i)
      for (double at : {i + 0.0, i + 0.5, i + 0.5, i + 1.0})
        steps.push_back({ratio(at, count), ratio(at + 1, count), ratio(at + 0.5, count)});
    for (int i = 3; i < count; ++i) steps.push_back({ratio(i, count), ratio(i + 1, count)});
    return error_of(pndm(config_of("pndm", Json::object())), steps, ratio(count, count));
  };
  EXPECT_GT(order_of(plms_error), 2.7);
  EXPECT_NEAR(order_of(pndm_error), 4, 0.4);
}

// Of one picture, x0 is known and the noise stays what it is: x = alpha * x0 + sigma * noise at every node.
TEST(Ddim, EqualsTheClosedFormOfOnePicture) {
  const Tensor x0 = at::tensor({0.5, -0.25, 0.125, 0.9}, at::kDouble).view({1, 1, 2, 2});
  const Denoise known = [&x0](const Tensor&, const Node&) { return x0; };
  for (const char* name : {"ddim", "euler", "dpm++2m", "dpm++3m", "dpm++2s", "unipc", "heun", "dpm2", "lms", "deis"}) {
    const Config file({{"clip_sample", false}, {"beta_schedule", "scaled_linear"}}, "test");
    const Scheduler scheduler = Scheduler::choose(file, {name, {}, {}, {}, {}, {}});
    for (int steps : {1, 3, 20}) {
      const Grid grid = scheduler.grid(steps);
      std::vector<std::pair<Tensor, Node>> seen;
      const Denoise denoise = [&](const Tensor& x, const Node& at) {
        seen.emplace_back(x, at);
        return known(x, at);
      };
      const Tensor x = start() * grid.start_scale;
      const Node first = grid.steps.front().from;
      const Tensor noise = (x - first.alpha * x0) / first.sigma;
      seen.emplace_back(scheduler.sampler()(denoise, {grid.steps}, x, kNone), grid.steps.back().to);
      for (const auto& [latents, at] : seen) test::expect_close(latents, at.alpha * x0 + at.sigma * noise, 1e-9, name);
    }
  }
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
    const Grid grid = scheduler.grid(count);
    const Tensor got =
        scheduler.sampler()(denoiser(model, Prediction::epsilon, std::nullopt), {grid.steps}, start(), kNone);
    test::expect_close(got, x, 1e-10, std::to_string(count));
  }
}

}  // namespace
}  // namespace sdgen
