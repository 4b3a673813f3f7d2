#include "diffusion/noise_schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

namespace sdgen {
namespace {

using at::Tensor;

// Betas that cumulate to alpha_bar(t / steps), each capped at 0.999.
Tensor betas_of(int steps, const std::function<double(double)>& alpha_bar) {
  std::vector<double> betas(steps);
  for (int i = 0; i < steps; ++i)
    betas[i] = std::min(1 - alpha_bar((i + 1.0) / steps) / alpha_bar(static_cast<double>(i) / steps), 0.999);
  return at::tensor(betas, at::kFloat);
}

// Nichol & Dhariwal, 2021, equation 17.
double cosine(double u) { return std::pow(std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2), 2); }
double exponential(double u) { return std::exp(-12 * u); }
double laplace(double u) {
  const double log_snr = -0.5 * std::copysign(1, 0.5 - u) * std::log(1 - 2 * std::abs(0.5 - u) + 1e-6);
  return std::sqrt(std::exp(log_snr) / (1 + std::exp(log_snr)));
}

Tensor make_betas(const SchedulerConfig& c) {
  const auto line = [&c](double from, double to) { return at::linspace(from, to, c.train_steps, at::kFloat); };
  const std::string& name = c.beta_schedule;
  const bool of_class = std::ranges::count(c.type->beta_schedules, name) > 0;
  if (!c.trained_betas.empty()) return at::tensor(c.trained_betas, at::kFloat);
  if (name == "linear") return line(c.beta_start, c.beta_end);
  if (name == "scaled_linear") return line(std::sqrt(c.beta_start), std::sqrt(c.beta_end)).square();
  if (name == "squaredcos_cap_v2") return betas_of(c.train_steps, cosine);
  if (name == "exp" && of_class) return betas_of(c.train_steps, exponential);
  if (name == "laplace" && of_class) return betas_of(c.train_steps, laplace);
  if (name == "sigmoid" && of_class) return at::sigmoid(line(-6, 6)) * (c.beta_end - c.beta_start) + c.beta_start;
  throw Error(Fault::input, concat(c.who, ": beta_schedule '", name, "' is not supported by ", c.type->name));
}

// Shifts and scales sqrt(alpha_bar) so that the last timestep is pure noise (Lin et al., 2023, algorithm 1).
Tensor rescale_to_zero_snr(const Tensor& betas) {
  Tensor root = at::sqrt(at::cumprod(1 - betas, 0));
  const double first = root[0].item<float>(), last = root[-1].item<float>();
  root = (root - last) * (first / (first - last));
  const Tensor bar = root.square();
  return 1 - at::cat({bar.slice(0, 0, 1), bar.slice(0, 1) / bar.slice(0, 0, -1)});
}

}  // namespace

NoiseSchedule::NoiseSchedule(const SchedulerConfig& config) {
  Tensor betas = make_betas(config);
  if (config.zero_snr) betas = rescale_to_zero_snr(betas);
  const Tensor bars = at::cumprod(1 - betas, 0).contiguous();
  // The classes that divide by alpha replace a zero by the smallest float16, so that the first sigma is finite.
  if (config.zero_snr && config.type->keeps_alpha) bars[-1] = std::exp2(-24);
  const Tensor sigmas = ((1 - bars) / bars).sqrt();
  alphas_cumprod_.assign(bars.data_ptr<float>(), bars.data_ptr<float>() + bars.numel());
  sigmas_.assign(sigmas.data_ptr<float>(), sigmas.data_ptr<float>() + sigmas.numel());
  for (double sigma : sigmas_) log_sigmas_.push_back(static_cast<float>(std::log(sigma)));
  for (double bar : alphas_cumprod_)
    if (!(bar >= 0 && bar < 1) || (bar == 0 && config.type->keeps_alpha))
      throw Error(Fault::input, concat(config.who, ": the betas give a cumulated alpha of ", bar,
                                       ", outside 0..1: check beta_start, beta_end, trained_betas"));
}

Node NoiseSchedule::node(int t) const {
  const double bar = alphas_cumprod_.at(t < 0 ? t + size() : t);
  return {static_cast<double>(t), std::sqrt(bar), std::sqrt(1 - bar)};
}

double NoiseSchedule::sigma(double t) const {
  if (size() == 1) return sigmas_[0];
  t = std::clamp(t, 0.0, size() - 1.0);
  const int below = std::min(static_cast<int>(t), size() - 2);
  return sigmas_[below] + (t - below) * (static_cast<double>(sigmas_[below + 1]) - sigmas_[below]);
}

double NoiseSchedule::time(double sigma) const {
  if (size() == 1) return 0;
  const double wanted = std::log(std::max(sigma, 1e-10));
  const auto above = std::upper_bound(log_sigmas_.begin(), log_sigmas_.end(), wanted);  // the first beyond
  const auto below = std::clamp(above - log_sigmas_.begin() - 1, std::ptrdiff_t{0}, std::ptrdiff_t{size() - 2});
  const double low = log_sigmas_[below], width = log_sigmas_[below] - log_sigmas_[below + 1];  // width in float32
  return double(below) + std::clamp((low - wanted) / width, 0.0, 1.0);
}

}  // namespace sdgen
