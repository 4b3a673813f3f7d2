#include "diffusion/noise_schedule.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sdgen {
namespace {

using at::Tensor;

// Cosine schedule (Nichol & Dhariwal, 2021, equation 17), each beta capped at 0.999.
Tensor cosine_betas(int steps) {
  const auto alpha_bar = [](double u) { return std::pow(std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
  std::vector<double> betas(steps);
  for (int i = 0; i < steps; ++i)
    betas[i] = std::min(1 - alpha_bar((i + 1.0) / steps) / alpha_bar(static_cast<double>(i) / steps), 0.999);
  return at::tensor(betas, at::kFloat);
}

Tensor make_betas(const SchedulerConfig& c) {
  const auto line = [&c](double from, double to) { return at::linspace(from, to, c.train_steps, at::kFloat); };
  if (!c.trained_betas.empty()) return at::tensor(c.trained_betas, at::kFloat);
  if (c.beta_schedule == "linear") return line(c.beta_start, c.beta_end);
  if (c.beta_schedule == "scaled_linear") return line(std::sqrt(c.beta_start), std::sqrt(c.beta_end)).square();
  if (c.beta_schedule == "squaredcos_cap_v2") return cosine_betas(c.train_steps);
  if (c.beta_schedule == "sigmoid" && c.class_name == "DDPMScheduler")
    return at::sigmoid(line(-6, 6)) * (c.beta_end - c.beta_start) + c.beta_start;
  throw Error(Fault::input,
              concat(c.who, ": beta_schedule '", c.beta_schedule, "' is not supported by ", c.class_name));
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
  alphas_cumprod_.assign(bars.data_ptr<float>(), bars.data_ptr<float>() + bars.numel());
  // The classes that divide by alpha replace a zero by the smallest float16, so that the first sigma is finite.
  const bool divides = config.class_name != "DDIMScheduler" && config.class_name != "DDPMScheduler";
  if (config.zero_snr && divides) alphas_cumprod_.back() = std::exp2(-24);
  for (double bar : alphas_cumprod_)
    if (!(bar >= 0 && bar < 1) || (bar == 0 && divides))
      throw Error(Fault::input, concat(config.who, ": the betas give a cumulated alpha of ", bar,
                                       ", outside 0..1: check beta_start, beta_end, trained_betas"));
}

Node NoiseSchedule::node(int t) const {
  const double bar = alphas_cumprod_.at(t);
  return {static_cast<double>(t), std::sqrt(bar), std::sqrt(1 - bar)};
}

double NoiseSchedule::sigma(double t) const {
  const auto at = [this](int i) { return std::sqrt((1 - alphas_cumprod_[i]) / alphas_cumprod_[i]); };
  if (size() == 1) return at(0);
  t = std::clamp(t, 0.0, size() - 1.0);
  const int below = std::min(static_cast<int>(t), size() - 2);
  return at(below) + (t - below) * (at(below + 1) - at(below));
}

}  // namespace sdgen
