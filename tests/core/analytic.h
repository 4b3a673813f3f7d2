// With which order each sampler converges, measured where denoiser and probability flow have closed forms: for the
// convergence test and for tools/plot_convergence.py.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>

#include "diffusion/denoiser.h"
#include "diffusion/schedulers.h"

namespace sdgen::analytic {

using at::Tensor;

// The nodes of a run, over u in [0, 1].
enum class Path {
  // Even in the variable of the row's formulas; first steps so small that the low orders with which a multistep method
  // begins do not show; no low order at the end. What the formulas are worth.
  own,
  // Even times of the diffusion that Stable Diffusion's betas approximate, from 1 to 1/20 of its length, or of a flow
  // from
  // 19/20; begun and ended as the class does by default. What a run is worth.
  time,
};

// How entries of the grid lie between nodes, as in grids.cpp.
enum class Layout { chain, plms, pndm, pairs, midpoints, ancestral_midpoints };

struct Row {
  std::string name;
  std::optional<std::string> scheduler;  // none: the class that `keys` name, as they say
  double own = 0, time = 0;              // orders
  Json keys = Json::object();
  Layout layout = Layout::chain;
  bool exploding = false, stochastic = false, flow = false;
};

// What the model says that it predicts, for a row to be chosen.
inline std::optional<std::string> prediction_of(bool flow) {
  return flow ? std::optional<std::string>("flow_prediction") : std::nullopt;
}

// How the row's own grid lies.
inline Layout layout_of(const SchedulerRow& row, const Grid& grid) {
  if (row.type->has("skip_prk_steps")) return row.added.at("skip_prk_steps") == true ? Layout::plms : Layout::pndm;
  if (!row.in_pairs()) return Layout::chain;
  const Step& second = grid.steps.at(1);
  return second.via.sigma == 0                 ? Layout::pairs
         : second.via.sigma == second.to.sigma ? Layout::midpoints
                                               : Layout::ancestral_midpoints;
}

// A class's variants, which no row of the table is.
inline std::vector<Row> variants_of(const SchedulerRow& row, const Row& base) {
  std::vector<Row> all;
  const auto add = [&](const std::string& what, Json keys) {
    keys["_class_name"] = row.type->name;
    all.push_back({base.name + ", " + what, {}, base.own, base.time, keys, base.layout, base.exploding});
    all.back().flow = base.flow;
  };
  Json third{{"solver_order", 3}};
  for (const SchedulerWords& words : row.type->words) {
    for (std::size_t i = 1; i < words.own.size(); ++i)
      if (!words.own[i].starts_with("sde-") && !(base.flow && words.own[i] == "dpmsolver"))
        add(words.own[i], {{words.key, words.own[i]}});
    third[words.key] = words.key == "solver_type" ? words.own.back() : words.own.front();
  }
  if (row.type->has("predict_x0") && !base.flow) add("noise", {{"predict_x0", false}});
  const auto has_third = [&](const SchedulerRow& other) {
    return other.type == row.type && other.added.value("solver_order", 0) == 3;
  };
  if (row.type->has("solver_order") && std::ranges::none_of(scheduler_rows(), has_third)) {
    add("order 3", third);
    all.back().own = base.own + 1;
    // A multistep method begins with order 1.
    if (row.type->name.find("Multistep") == std::string::npos) all.back().time = all.back().own;
  }
  return all;
}

// All rows on the models that they are for, with their variants.
inline std::vector<Row> rows_of(bool flow) {
  std::vector<Row> found;
  const SchedulerClass* last = nullptr;
  for (const SchedulerRow& row : scheduler_rows()) {
    if (!(flow ? row.flow : row.diffusion)) continue;
    const Config file(Json::object(), "analytic.h");
    const Grid grid = Scheduler::choose(file, {row.name, {}, prediction_of(flow), {}, {}, {}}).grid({5});
    const Row base{flow && row.diffusion ? row.name + ", flow" : row.name,
                   row.name,
                   double(row.formula_order),
                   double(row.order),
                   Json::object(),
                   layout_of(row, grid),
                   grid.steps.front().from.alpha == 1,
                   row.stochastic,
                   flow};
    if (row.order > 0) found.push_back(base);
    if (row.type != last)
      for (const Row& variant : variants_of(row, base)) found.push_back(variant);
    last = row.type;
  }
  return found;
}

inline const std::vector<Row>& rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> found = rows_of(false);
    for (Row& row : rows_of(true)) found.push_back(std::move(row));
    return found;
  }();
  return all;
}

// Their multiples are fair to all rows: dpm++3s takes three steps together.
constexpr int kStepsTogether = 6;

inline Scheduler scheduler_of(const Row& row, Path path) {
  Json keys{{"final_sigmas_type", "sigma_min"}, {"clip_sample", false}};
  if (path == Path::own) keys["lower_order_final"] = false;
  keys.update(row.keys);
  return Scheduler::choose(Config(keys, "analytic.h"), {row.scheduler, {}, prediction_of(row.flow), {}, {}, {}});
}

// The cumulated betas of "scaled_linear", 0.00085 to 0.012, with a continuum of timesteps.
inline double ratio_at(double time) {
  const double first = std::sqrt(0.85), last = std::sqrt(12.0), here = first + (last - first) * time;
  const double log_bar = (std::pow(first, 3) - std::pow(here, 3)) / (3 * (last - first));
  return std::sqrt(std::expm1(-log_bar));
}

inline Node node_of(const Row& row, Path path, double u) {
  const bool adams = row.layout == Layout::plms || row.layout == Layout::pndm;
  const double ratio = path == Path::time ? ratio_at(1 - 0.95 * u) : adams ? 3 - 2.5 * u : std::exp(1.5 - 3 * u);
  if (row.flow) {
    const double sigma = path == Path::time ? 0.95 - 0.9 * u : ratio / (1 + ratio);
    return {1000 * sigma, 1 - sigma, sigma};
  }
  return row.exploding ? Node{1, 1, ratio} : Node{1, 1 / std::hypot(1, ratio), ratio / std::hypot(1, ratio)};
}

inline std::vector<Step> steps_of(const Row& row, Path path, int count) {
  const auto at = [&](double u) { return node_of(row, path, u); };
  const double h = 1.0 / count;
  std::vector<Step> steps;
  const auto between = [](const Node& a, const Node& b) { return Node{1, 1, std::sqrt(a.sigma * b.sigma)}; };
  if (row.layout == Layout::plms || row.layout == Layout::pndm) {
    const bool warm = row.layout == Layout::pndm;
    for (int i = 0; warm && i < 3; ++i)
      for (double u : {i + 0.0, i + 0.5, i + 0.5, i + 1.0})
        steps.push_back({at(u * h), at((u + 1) * h), at((u + 0.5) * h)});
    for (int i = warm ? 3 : 0; i < count; ++i) {
      steps.push_back({at(i * h), at((i + 1) * h)});
      if (!warm && i == 0) steps.push_back({at(h), at(2 * h), at(0)});
    }
    return steps;
  }
  // The small first steps are squares of the others; as many as a multistep method of any order begins with, and as the
  // singlestep ones take together.
  const int low = path == Path::own && row.layout == Layout::chain ? kStepsTogether : 0;
  const double whole = count + low * 3 * h;
  double place = 0;
  for (int i = 0; i < count + low; ++i) {
    const double next = place + (i < low ? 3 * h : 1) / whole;
    const Node a = at(place), b = at(next);
    place = next;
    if (row.layout == Layout::chain) {
      steps.push_back({a, b, b});
      continue;
    }
    const Node down = row.layout == Layout::ancestral_midpoints ? Node{1, 1, b.sigma * b.sigma / a.sigma} : b;
    const Node middle = row.layout == Layout::pairs ? b : between(a, down);
    steps.push_back({a, middle});
    steps.push_back({middle, b, down});
  }
  return steps;
}

// x0 is drawn from normal distributions of one deviation, with these weights and means.
struct Mixture {
  std::vector<double> weights, means;
  double deviation;

  double spread(const Node& n) const { return std::hypot(n.alpha * deviation, n.sigma); }
  // E[x0 | x]: of each normal its own, by what it has to do with x.
  Tensor denoise(const Tensor& x, const Node& n) const {
    const double variance = spread(n) * spread(n), gain = n.alpha * deviation * deviation / variance;
    Tensor sum = at::zeros_like(x), total = sum;
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const Tensor off = x - n.alpha * means[k], share = weights[k] * at::exp(off * off / (-2 * variance));
      sum = sum + share * (means[k] + gain * off);
      total = total + share;
    }
    return sum / total;
  }
  // The probability flow keeps every point's quantile.
  double quantile_of(double x, const Node& n) const {
    double sum = 0;
    for (std::size_t k = 0; k < weights.size(); ++k)
      sum += weights[k] * std::erfc((n.alpha * means[k] - x) / (spread(n) * std::sqrt(2))) / 2;
    return sum;
  }
  double flow(double x, const Node& a, const Node& b) const {
    const double quantile = quantile_of(x, a);
    double low = -20, high = 20;
    for (int i = 0; i < 200; ++i) (quantile_of((low + high) / 2, b) < quantile ? low : high) = (low + high) / 2;
    return (low + high) / 2;
  }
};

// What a row asks. Of a flow the denoiser itself is tried: its network says noise - x0 as far as it knows it.
inline Denoise denoise_of(const Row& row, const Mixture& pictures) {
  if (!row.flow) return [&pictures](const Tensor& x, const Node& at) { return pictures.denoise(x, at); };
  return [&pictures](const Tensor& x, const Node& at) {
    const Network network = [&](const Tensor& seen, double) {
      const Tensor x0 = pictures.denoise(seen, at);
      return (seen - at.alpha * x0) / at.sigma - x0;
    };
    return denoiser(network, Prediction::flow, std::nullopt)(x, at);
  };
}

struct Result {
  int calls;     // of the network
  double error;  // where the run ends, relative
};

// The largest distance of four points from where the flow brings them, relative to the farthest.
inline double error_on_points(const Sampler& sampler, const Denoise& denoise, const std::vector<Step>& steps,
                              const Mixture& pictures) {
  const Node first = steps.front().from, last = steps.back().to;
  std::vector<double> begin, end;
  double size = 0;
  for (double x : {1.7, -0.4, 0.3, -1.2}) {
    begin.push_back(x * pictures.spread(first)), end.push_back(pictures.flow(begin.back(), first, last));
    size = std::max(size, std::abs(end.back()));
  }
  const Noise none = []() -> Tensor { throw std::logic_error("a deterministic sampler draws no noise"); };
  const Tensor x = sampler(denoise, {steps}, at::tensor(begin, at::kDouble).view({4, 1, 1, 1}), none);
  return (x.flatten() - at::tensor(end, at::kDouble)).abs().max().item<double>() / size;
}

// The distance (Wasserstein's second) of the distribution that a stochastic sampler ends with from the true one,
// relative to its deviation, for pictures of one normal distribution: then all is affine in the first latents and in
// every draw, and normal. A batch of their unit vectors gives the coefficients.
inline double error_of_distribution(const Sampler& sampler, const Denoise& denoise, const std::vector<Step>& steps,
                                    const Mixture& pictures) {
  const Node first = steps.front().from, last = steps.back().to;
  const auto size = static_cast<std::int64_t>(steps.size()) + 2;  // nothing, the first latents, the draws
  const Tensor units = at::eye(size, at::kDouble).view({size, size, 1, 1, 1});
  std::int64_t draws = 0;
  const Tensor x = sampler(denoise, {steps}, units[1], [&] { return units[2 + draws++]; }).flatten();
  const double constant = x[0].item<double>();
  const Tensor gains = x.slice(0, 1) - constant;
  const double mean = constant + gains[0].item<double>() * first.alpha * pictures.means[0];
  const double begun = gains[0].item<double>() * pictures.spread(first);
  const double deviation = std::sqrt(begun * begun + gains.slice(0, 1).square().sum().item<double>());
  return std::hypot(mean - last.alpha * pictures.means[0], deviation - pictures.spread(last)) / pictures.spread(last);
}

inline Mixture mixture_of(const Row& row) {
  return row.stochastic ? Mixture{{1}, {0.6}, 0.8} : Mixture{{0.7, 0.3}, {0.9, -0.8}, 0.5};
}

// `denoise`: instead of what the row asks.
inline Result measure(const Row& row, Path path, int count, const Denoise& denoise = {}) {
  const std::vector<Step> steps = steps_of(row, path, count);
  const Sampler sampler = scheduler_of(row, path).sampler();
  const Mixture pictures = mixture_of(row);
  const Denoise& asked = denoise ? denoise : denoise_of(row, pictures);
  const double error = row.stochastic ? error_of_distribution(sampler, asked, steps, pictures)
                                      : error_on_points(sampler, asked, steps, pictures);
  return {static_cast<int>(steps.size()), error};
}

}  // namespace sdgen::analytic
