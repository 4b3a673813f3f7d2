// UniPC.
#include <algorithm>

#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

namespace {

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

// Zhao et al., 2023, algorithms 5 to 8: UniP predictor and UniC corrector on the same call.
Sampler unipc(const SchedulerConfig& config) {
  return [config](const Denoise& denoise, const GridSpan& span, Tensor x, const Noise&) {
    const bool data = config.predict_x0;
    std::deque<Answer> past;  // at the nodes before and at i
    Tensor start;             // x at the node before, corrected
    std::size_t order = 0;    // of the last step
    const auto& off = config.disable_corrector;
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      const Tensor x0 = denoise(x, a);
      const Answer answer{data ? limited(x0, config) : noise_in(x, x0, a), half_log_snr(a)};
      if (i > span.begin && std::find(off.begin(), off.end(), std::int64_t(i) - 1) == off.end())
        x = unipc_step({span.grid[i - 1].from, a, data, false}, start, past, order, config, &answer.value);
      remember(past, answer, config.solver_order);
      const std::size_t most = config.solver_order, left = span.grid.size() - i;
      order = std::min({most, i - span.begin + 1, config.lower_order_final ? left : most});
      start = x;
      x = unipc_step({a, b, data, false}, start, past, order, config, nullptr);
    }
    return x;
  };
}

}  // namespace sdgen
