#include "diffusion/samplers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/quantile.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "sdgen/error.h"

namespace sdgen {
namespace {

using at::Tensor;

double square(double x) { return x * x; }
double half_log_snr(const Node& n) { return std::log(n.alpha) - std::log(n.sigma); }  // lambda
Tensor noise_in(const Tensor& x, const Tensor& x0, const Node& at) { return (x - at.alpha * x0) / at.sigma; }

// Newest first, at most `most` of them.
template <class T>
void remember(std::deque<T>& past, T value, std::size_t most) {
  past.push_front(std::move(value));
  if (past.size() > most) past.pop_back();
}

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

Sampler ddim_with(const SchedulerConfig& config, double eta) {
  return [config, eta](const Denoise& denoise, const Run& run, Tensor x, const Noise& noise) {
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      const Tensor x0 = denoise(x, a), e = noise_in(x, x0, a);  // e belongs to the x0 before clipping
      const double ratio = a.alpha / b.alpha * b.sigma / a.sigma;
      const double deviation = eta * b.sigma * std::sqrt(std::max(0.0, 1 - square(ratio)));
      x = b.alpha * limited(x0, config) + std::sqrt(std::max(0.0, square(b.sigma) - square(deviation))) * e;
      if (eta > 0) x = x + deviation * noise();
    }
    return x;
  };
}

// Two entries a step: to a trial node and, with what is found there, from the start again.
Sampler two_stage(const SchedulerConfig& config, bool trapezoid, bool ancestral) {
  return [=](const Denoise& denoise, const Run& run, Tensor x, const Noise& noise) {
    Tensor start, slope;
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      const Tensor e = noise_in(x, limited(denoise(x, a), config), a);
      if ((i - run.begin) % 2 == 0) {
        start = x, slope = e;
        x = x + (b.sigma - a.sigma) * e;
        continue;
      }
      const double from = run.grid[i - 1].from.sigma, down = ancestral ? via.sigma : b.sigma;
      x = start + (down - from) * (trapezoid ? (slope + e) / 2 : e);
      if (ancestral) x = x + std::sqrt(square(b.sigma) - square(down)) * noise();
    }
    return x;
  };
}

// The integral over rho = sigma / alpha from `a` to `b` of the Lagrange polynomial that is 1 at nodes[k] and 0 at the
// others, in rho or in its logarithm: 8-point Gauss-Legendre quadrature of each quarter.
double lagrange_integral(const std::vector<double>& nodes, std::size_t k, double a, double b, bool logarithmic) {
  constexpr double quadrature[][2] = {{0.1834346424956498, 0.3626837833783620},
                                      {0.5255324099163290, 0.3137066458778873},
                                      {0.7966664774136267, 0.2223810344533745},
                                      {0.9602898564975363, 0.1012285362903763}};
  double sum = 0;
  const double half = (b - a) / 8;
  for (double middle : {a + half, a + 3 * half, a + 5 * half, a + 7 * half}) {
    for (const auto& [place, weight] : quadrature) {
      for (double u : {middle - place * half, middle + place * half}) {
        double value = logarithmic ? std::exp(u) : 1;
        for (std::size_t j = 0; j < nodes.size(); ++j)
          if (j != k) value *= (u - nodes[j]) / (nodes[k] - nodes[j]);
        sum += weight * half * value;
      }
    }
  }
  return sum;
}

// x / alpha moves along rho with the noise as its slope: the last `order` noises, interpolated and integrated.
Sampler adams_bashforth(const SchedulerConfig& config, bool logarithmic,
                        std::size_t (*order_at)(const SchedulerConfig&, const Run&, std::size_t)) {
  return [=](const Denoise& denoise, const Run& run, Tensor x, const Noise&) {
    const auto place = [=](const Node& n) { return logarithmic ? -half_log_snr(n) : n.sigma / n.alpha; };
    std::deque<Tensor> past;
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      remember(past, noise_in(x, limited(denoise(x, a), config), a), 4);
      std::vector<double> nodes;
      for (std::size_t k = 0; k < order_at(config, run, i); ++k) nodes.push_back(place(run.grid[i - k].from));
      x = x / a.alpha;
      for (std::size_t k = 0; k < std::min(nodes.size(), past.size()); ++k)
        x = x + lagrange_integral(nodes, k, place(a), place(b), logarithmic) * past[k];
      x = b.alpha * x;
    }
    return x;
  };
}

// The order of a multistep method that begins with 1 and, where `falls`, ends with 2, 1 in runs of less than 15 steps.
std::size_t warm_order(const Run& run, std::size_t i, std::size_t order, bool falls) {
  const std::size_t left = run.grid.size() - i;
  return std::min({order, i - run.begin + 1, falls && run.grid.size() < 15 ? left : order});
}

// Exponential integrators (Lu et al., 2022, equation 3.4, and 2022b, equation 9) from `a` to `b` in lambda, over what
// the network says about x0 (data) or about the noise; stochastic: with the noise of the reverse SDE.
struct Exponential {
  double h, hh, keep, gain, deviation;  // x -> keep * x - gain * (expm1(hh) * D0 + ...) + deviation * noise

  Exponential(const Node& a, const Node& b, bool data, bool stochastic) : h(half_log_snr(b) - half_log_snr(a)) {
    hh = (data ? -h : h) * (data && stochastic ? 2 : 1);
    keep = data ? b.sigma / a.sigma * (stochastic ? std::exp(-h) : 1) : b.alpha / a.alpha;
    gain = data ? b.alpha : b.sigma * (stochastic ? 2 : 1);
    deviation = stochastic ? b.sigma * std::sqrt(data ? -std::expm1(-2 * h) : std::expm1(2 * h)) : 0;
  }
  double phi1() const { return std::expm1(hh); }
};

// What the network said, and where.
struct Answer {
  Tensor value;
  double lambda;
};

// One step of DPM-Solver with `order` answers, newest first, from where the newest was found; singlestep: from where
// the oldest was.
Tensor dpm_step(const Exponential& to, const Tensor& start, const std::deque<Answer>& past, std::size_t order,
                bool single, bool heun, bool stochastic) {
  const double phi1 = to.phi1(), phi2 = phi1 / to.hh - 1;
  const Tensor x = to.keep * start - to.gain * phi1 * past[single ? order - 1 : 0].value;
  if (order == 1) return x;
  // The slope and the curvature over h of the answers, by divided differences.
  const auto slope = [&](std::size_t k, std::size_t j) {
    return (past[k].value - past[j].value) * (to.h / (past[k].lambda - past[j].lambda));
  };
  if (order == 2) return x - to.gain * (heun ? phi2 : phi1 / 2) * slope(0, 1);
  if (single && !heun) return x - to.gain * phi2 * slope(0, 2);
  const Tensor curve = (slope(0, 1) - slope(1, 2)) * (to.h / (past[0].lambda - past[2].lambda));
  const double behind = (past[0].lambda - past[1].lambda) / to.h;  // from the newest to the one before
  const double ahead = (past[1].lambda - past[2].lambda) / to.h;   // from the oldest to that one
  // diffusers has + 1/2 in its stochastic forms.
  const double phi3 = (phi1 - to.hh) / square(to.hh) + (stochastic ? 0.5 : -0.5);
  return x - to.gain * phi2 * (single ? slope(1, 2) - ahead * curve : slope(0, 1) + behind * curve) -
         to.gain * phi3 * (single ? 2 * curve : curve);
}

Sampler dpm_solver(const SchedulerConfig& config, bool single) {
  const bool data = config.algorithm_type.ends_with("++"), stochastic = config.algorithm_type.starts_with("sde-");
  return [=](const Denoise& denoise, const Run& run, Tensor x, const Noise& noise) {
    const std::size_t most = std::min(config.solver_order, 3), size = run.grid.size();
    // Singlestep: orders 1, 2, 3, 1, 2, 3, ..., and 1 at the end where that is asked for, or sigma 0.
    const auto single_order = [&](std::size_t i) {
      const bool low = config.final_sigma_zero || (config.lower_order_final && size % most == 0);
      return low && i + 1 == size ? 1 : i % most + 1;
    };
    std::deque<Answer> past;
    Tensor start;
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      const Tensor x0 = limited(denoise(x, a), config);
      remember(past, {data ? x0 : noise_in(x, x0, a), half_log_snr(a)}, most);
      const bool last = i + 1 == size && (config.euler_at_final || config.final_sigma_zero);
      const std::size_t order = single ? std::min(single_order(i), past.size())
                                       : warm_order(run, i, last ? 1 : most, config.lower_order_final);
      if (!single || order == 1) start = x;
      const Exponential to(run.grid[single ? i + 1 - order : i].from, b, data, stochastic);
      x = dpm_step(to, start, past, order, single, config.solver_type == "heun", stochastic);
      if (stochastic) x = x + to.deviation * noise();
    }
    return x;
  };
}

// Solves the square system by elimination; rows are [coefficients, right side].
std::vector<double> solved(std::vector<std::vector<double>> rows) {
  const std::size_t n = rows.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::swap(rows[k], *std::max_element(rows.begin() + k, rows.end(), [k](const auto& a, const auto& b) {
                return std::abs(a[k]) < std::abs(b[k]);
              }));
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = i == k ? 0 : rows[i][k] / rows[k][k];
      for (std::size_t j = k; j <= n; ++j) rows[i][j] -= factor * rows[k][j];
    }
  }
  std::vector<double> result;
  for (std::size_t k = 0; k < n; ++k) result.push_back(rows[k][n] / rows[k][k]);
  return result;
}

// The weights rho of the differences at the places r (in units of h from the step's start): R rho = b (Zhao et al.,
// 2023, equation 11), b times B(h), so that no B(h) is left where it cancels.
std::vector<double> unipc_weights(const std::vector<double>& r, double hh, double b_of_h) {
  std::vector<std::vector<double>> rows;
  double phi = std::expm1(hh) / hh - 1, factorial = 1;
  for (std::size_t i = 0; i < r.size(); ++i) {
    std::vector<double> row;
    for (double place : r) row.push_back(std::pow(place, i));
    row.push_back(phi * factorial / b_of_h);
    rows.push_back(std::move(row));
    factorial *= double(i + 2);
    phi = phi / hh - 1 / factorial;
  }
  return solved(std::move(rows));
}

// One step with the answers past[0], where it begins, and those before; `found` is the answer where it ends, if known:
// UniC corrects with it what UniP did without.
Tensor unipc_step(const Exponential& to, const Tensor& start, const std::deque<Answer>& past, std::size_t order,
                  const SchedulerConfig& config, const Tensor* found) {
  Tensor next = to.keep * start - to.gain * to.phi1() * past[0].value;
  const double b_of_h = config.solver_type == "bh1" ? to.hh : to.phi1();
  std::vector<double> places;
  for (std::size_t k = 1; k < order; ++k) places.push_back((past[k].lambda - past[0].lambda) / to.h);
  if (found) places.push_back(1);
  const std::vector<double> weights =
      places.size() == 1 ? std::vector<double>{0.5} : unipc_weights(places, to.hh, b_of_h);
  for (std::size_t k = 0; k < places.size(); ++k) {
    const Tensor& answer = found && k + 1 == places.size() ? *found : past[k + 1].value;
    next = next - to.gain * b_of_h * weights[k] / places[k] * (answer - past[0].value);
  }
  return next;
}

}  // namespace

Sampler ddim(const SchedulerConfig& config) { return ddim_with(config, config.eta); }
Sampler euler(const SchedulerConfig& config) { return ddim_with(config, 0); }
Sampler euler_ancestral(const SchedulerConfig& config) { return ddim_with(config, 1); }
Sampler heun(const SchedulerConfig& config) { return two_stage(config, true, false); }
Sampler dpm2(const SchedulerConfig& config) { return two_stage(config, false, false); }
Sampler dpm2_ancestral(const SchedulerConfig& config) { return two_stage(config, false, true); }
Sampler dpm_solver_multistep(const SchedulerConfig& config) { return dpm_solver(config, false); }
Sampler dpm_solver_singlestep(const SchedulerConfig& config) { return dpm_solver(config, true); }

Sampler lms(const SchedulerConfig& config) {
  // diffusers counts the order over the whole grid: a run that begins later lacks the first noises.
  const auto order = [](const SchedulerConfig&, const Run&, std::size_t i) { return std::min<std::size_t>(i + 1, 4); };
  return adams_bashforth(config, false, order);
}

Sampler deis(const SchedulerConfig& config) {
  return adams_bashforth(config, true, [](const SchedulerConfig& c, const Run& run, std::size_t i) {
    return warm_order(run, i, std::min(c.solver_order, 3), c.lower_order_final);
  });
}

Sampler ddpm(const SchedulerConfig& config) {
  const std::string& type = config.variance_type;
  // null (as DPM-Solver's configs have it) is fixed_small to diffusers too: none of its branches changes the variance.
  if (!type.empty() && type != "fixed_small" && type != "fixed_small_log" && type != "fixed_large")
    throw Error(Fault::input, concat(config.who, ": variance_type '", type,
                                     "' is not supported (fixed_small, fixed_small_log, fixed_large are)"));
  return [config, large = type == "fixed_large"](const Denoise& denoise, const Run& run, Tensor x, const Noise& noise) {
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      const Tensor x0 = limited(denoise(x, a), config);
      const double alpha = square(a.alpha / b.alpha), beta = 1 - alpha;  // of this step alone
      const double before = square(b.sigma) / square(a.sigma);
      x = b.alpha * beta / square(a.sigma) * x0 + std::sqrt(alpha) * before * x;
      if (a.t > 0) x = x + std::sqrt(large ? beta : std::max(before * beta, 1e-20)) * noise();
    }
    return x;
  };
}

Sampler pndm(const SchedulerConfig& config) {
  const std::size_t warm = config.skip_prk_steps ? 0 : 12;  // calls of the Runge-Kutta steps
  return
      [v = config.prediction == Prediction::v, warm](const Denoise& denoise, const Run& run, Tensor x, const Noise&) {
        // diffusers averages what the network says, which for v-prediction is not the same as averaging noise.
        const auto output = [&](const Tensor& x, const Node& at) {
          const Tensor x0 = denoise(x, at), e = noise_in(x, x0, at);
          return v ? at.alpha * e - at.sigma * x0 : e;
        };
        const auto move = [v](const Tensor& x, const Tensor& out, const Node& a, const Node& b) {
          const Tensor e = v ? a.alpha * out + a.sigma * x : out;
          return b.alpha / a.alpha * x + (b.sigma - b.alpha * a.sigma / a.alpha) * e;
        };
        std::deque<Tensor> past;
        Tensor start, sum;
        for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
          const auto& [a, b, via] = run.grid[i];
          const std::size_t call = i - run.begin, stage = call % 4;
          const Tensor out = output(x, a);
          if (call < warm) {
            if (stage == 0) remember(past, out, 4), start = x;
            sum = stage == 0 ? out / 6 : sum + out / (stage == 3 ? 6 : 3);
            x = move(start, stage == 3 ? sum : out, run.grid[call - stage].from, stage % 2 ? a : via);
          } else if (warm == 0 && call == 1) {
            x = move(start, (out + past.at(0)) / 2, via, a);
          } else {
            remember(past, out, 4), start = x;
            const Tensor mean = past.size() == 1   ? past[0]
                                : past.size() == 2 ? (3 * past[0] - past[1]) / 2
                                : past.size() == 3 ? (23 * past[0] - 16 * past[1] + 5 * past[2]) / 12
                                                   : (55 * past[0] - 59 * past[1] + 37 * past[2] - 9 * past[3]) / 24;
            x = move(x, mean, a, b);
          }
        }
        return x;
      };
}

Sampler unipc(const SchedulerConfig& config) {
  return [config](const Denoise& denoise, const Run& run, Tensor x, const Noise&) {
    const bool data = config.predict_x0;
    std::deque<Answer> past;  // at the nodes before and at i
    Tensor start;             // x at the node before, corrected
    std::size_t order = 0;    // of the last step
    const auto& off = config.disable_corrector;
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      const Tensor x0 = denoise(x, a);
      const Answer answer{data ? limited(x0, config) : noise_in(x, x0, a), half_log_snr(a)};
      if (i > run.begin && std::find(off.begin(), off.end(), std::int64_t(i) - 1) == off.end())
        x = unipc_step({run.grid[i - 1].from, a, data, false}, start, past, order, config, &answer.value);
      remember(past, answer, config.solver_order);
      const std::size_t most = config.solver_order, left = run.grid.size() - i;
      order = std::min({most, i - run.begin + 1, config.lower_order_final ? left : most});
      start = x;
      x = unipc_step({a, b, data, false}, start, past, order, config, nullptr);
    }
    return x;
  };
}

Sampler lcm(const SchedulerConfig& config) {
  return [config](const Denoise& denoise, const Run& run, Tensor x, const Noise& noise) {
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, via] = run.grid[i];
      // The boundary condition (equation 9): at timestep 0 the function is the identity.
      const double t = a.t * config.timestep_scaling, data = 0.5, skip = square(data) / (square(t) + square(data));
      const Tensor x0 = limited(denoise(x, a), config);
      x = t / std::hypot(t, data) * x0 + skip * x;
      if (i + 1 < run.grid.size()) x = b.alpha * x + b.sigma * noise();
    }
    return x;
  };
}

Sampler tcd(const SchedulerConfig& config) {
  return [eta = config.eta](const Denoise& denoise, const Run& run, Tensor x, const Noise& noise) {
    for (std::size_t i = run.begin; i < run.end; run.next(i, x)) {
      const auto& [a, b, s] = run.grid[i];
      const Tensor x0 = denoise(x, a);
      x = s.alpha * x0 + s.sigma * noise_in(x, x0, a);
      if (eta > 0 && i + 1 < run.grid.size())
        x = b.alpha / s.alpha * x + std::sqrt(1 - square(b.alpha / s.alpha)) * noise();
    }
    return x;
  };
}

}  // namespace sdgen
