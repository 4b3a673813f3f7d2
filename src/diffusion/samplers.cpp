#include "diffusion/samplers.h"

#include <ATen/ops/clamp.h>
#include <ATen/ops/quantile.h>

#include <cmath>
#include <deque>

#include "sdgen/error.h"

namespace sdgen {
namespace {

using at::Tensor;

double square(double x) { return x * x; }
double half_log_snr(const Node& n) { return std::log(n.alpha) - std::log(n.sigma); }  // lambda
Tensor noise_in(const Tensor& x, const Tensor& x0, const Node& at) { return (x - at.alpha * x0) / at.sigma; }

// What the config does to every predicted x0: nothing, clipping, or dynamic thresholding (Saharia et al., 2022,
// section 2.3).
Tensor limited(const Tensor& x0, const SchedulerConfig& c) {
  if (c.thresholding) {
    const Tensor flat = x0.flatten(1);  // [B, CHW]
    const Tensor bound = at::quantile(flat.abs(), c.dynamic_thresholding_ratio, 1, /*keepdim=*/true)
                             .clamp(1.0, std::max(1.0, c.sample_max_value));
    return (at::clamp(flat, -bound, bound) / bound).view(x0.sizes());
  }
  return c.clip_sample ? x0.clamp(-c.clip_sample_range, c.clip_sample_range) : x0;
}

}  // namespace

Sampler ddim(const SchedulerConfig& config, double eta) {
  return [config, eta](const Denoise& denoise, std::span<const Step> steps, Tensor x, const Noise& noise) {
    for (const auto& [a, b] : steps) {
      const Tensor x0 = denoise(x, a), e = noise_in(x, x0, a);  // e belongs to the x0 before clipping
      const double ratio = a.alpha / b.alpha;
      const double deviation = eta * b.sigma / a.sigma * std::sqrt(std::max(0.0, 1 - ratio * ratio));
      x = b.alpha * limited(x0, config) + std::sqrt(std::max(0.0, square(b.sigma) - square(deviation))) * e;
      if (eta > 0) x = x + deviation * noise();
    }
    return x;
  };
}

Sampler ddpm(const SchedulerConfig& config) {
  const std::string& type = config.variance_type;
  // null (as DPM-Solver's configs have it) is fixed_small to diffusers too: none of its branches changes the variance.
  if (!type.empty() && type != "fixed_small" && type != "fixed_small_log" && type != "fixed_large")
    throw Error(Fault::input, concat(config.who, ": variance_type '", type,
                                     "' is not supported (fixed_small, fixed_small_log, fixed_large are)"));
  return [config, large = type == "fixed_large"](const Denoise& denoise, std::span<const Step> steps, Tensor x,
                                                 const Noise& noise) {
    for (const auto& [a, b] : steps) {
      const Tensor x0 = limited(denoise(x, a), config);
      const double alpha = square(a.alpha / b.alpha), beta = 1 - alpha;  // of this step alone
      const double before = square(b.sigma) / square(a.sigma);
      x = b.alpha * beta / square(a.sigma) * x0 + std::sqrt(alpha) * before * x;
      if (a.t > 0) x = x + std::sqrt(large ? beta : std::max(before * beta, 1e-20)) * noise();
    }
    return x;
  };
}

Sampler plms(const SchedulerConfig& config) {
  if (!config.skip_prk_steps)
    throw Error(Fault::input, concat(config.who,
                                     ": skip_prk_steps = false (Runge-Kutta first steps) is not supported; "
                                     "choose --scheduler plms"));
  const bool v = config.prediction == Prediction::v;
  return [v](const Denoise& denoise, std::span<const Step> steps, Tensor x, const Noise&) {
    // diffusers averages what the network says, which for v-prediction is not the same as averaging noise.
    const auto output = [&](const Tensor& x, const Node& at) {
      const Tensor x0 = denoise(x, at), e = noise_in(x, x0, at);
      return v ? at.alpha * e - at.sigma * x0 : e;
    };
    const auto move = [v](const Tensor& x, const Tensor& out, const Step& step) {
      const auto& [a, b] = step;
      const Tensor e = v ? a.alpha * out + a.sigma * x : out;
      return b.alpha / a.alpha * x + (b.sigma - b.alpha * a.sigma / a.alpha) * e;
    };
    std::deque<Tensor> past{output(x, steps[0].from)};  // newest first
    Tensor next = move(x, past[0], steps[0]);
    if (steps.size() > 1) x = move(x, (output(next, steps[1].to) + past[0]) / 2, steps[1]);
    for (std::size_t i = 2; i < steps.size(); ++i) {
      past.push_front(output(x, steps[i].from));
      past.resize(std::min<std::size_t>(past.size(), 4));
      Tensor mean;
      if (past.size() == 2)
        mean = (3 * past[0] - past[1]) / 2;
      else if (past.size() == 3)
        mean = (23 * past[0] - 16 * past[1] + 5 * past[2]) / 12;
      else
        mean = (55 * past[0] - 59 * past[1] + 37 * past[2] - 9 * past[3]) / 24;
      x = move(x, mean, steps[i]);
    }
    return steps.size() > 1 ? x : next;
  };
}

Sampler dpm_solver_pp_multistep(const SchedulerConfig& config) {
  const auto unsupported = [&config](const char* key, const auto& value, const char* known) {
    throw Error(Fault::input, concat(config.who, ": ", key, " = ", value, " is not supported (", known, ")"));
  };
  // diffusers takes other solvers' names for these keys as its defaults.
  if (config.algorithm_type != "dpmsolver++" && config.algorithm_type != "deis")
    unsupported("algorithm_type", config.algorithm_type, "dpmsolver++");
  if (config.solver_order < 1 || config.solver_order > 2) unsupported("solver_order", config.solver_order, "1, 2");
  if (config.variance_type == "learned" || config.variance_type == "learned_range")
    unsupported("variance_type", config.variance_type, "networks that predict no variance");
  const bool heun = config.solver_type == "heun";
  return [config, heun](const Denoise& denoise, std::span<const Step> steps, Tensor x, const Noise&) {
    const bool few = config.lower_order_final && steps.size() < 15;
    Tensor before;  // x0 predicted at the previous node
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto& [a, b] = steps[i];
      const Tensor x0 = limited(denoise(x, a), config);
      const double h = half_log_snr(b) - half_log_snr(a), shrink = std::expm1(-h);  // h is infinite when b is clean
      const bool last = i + 1 == steps.size() && (config.euler_at_final || few || config.final_sigma_zero);
      x = b.sigma / a.sigma * x - b.alpha * shrink * x0;
      if (i > 0 && config.solver_order == 2 && !last) {
        const Tensor slope = (x0 - before) * (h / (half_log_snr(a) - half_log_snr(steps[i - 1].from)));
        x = x + b.alpha * (heun ? shrink / h + 1 : -0.5 * shrink) * slope;
      }
      before = x0;
    }
    return x;
  };
}

}  // namespace sdgen
