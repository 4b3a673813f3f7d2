#include "diffusion/grids.h"

#include <algorithm>
#include <cmath>

#include "sdgen/error.h"

namespace sdgen {

double round_even(double x) { return std::nearbyint(x); }

void too_many(int steps, const SchedulerConfig& config, const std::string& why) {
  const bool flow = config.prediction == Prediction::flow;
  throw Error(Fault::usage, concat(steps, " steps do not fit ", config.type->name, " with ", config.train_steps,
                                   " training timesteps",
                                   flow ? "" : concat(" and ", spacing_name(config.spacing), " spacing"), ": ", why));
}

std::vector<double> spaced(const SchedulerConfig& c, int steps, int total, int extra, bool rounded) {
  const int count = steps + extra;
  std::vector<double> points;
  if (c.spacing == Spacing::trailing) {
    // numpy.arange(total, 0, -T/N).round() - 1. Its step is rounded as numpy rounds it, and so is its length: for
    // some counts (61, 103, ...) there is one point more, timestep -1, and diffusers runs it.
    const double stride = static_cast<double>(c.train_steps) / steps, step = (total - stride) - total;
    points.resize(static_cast<std::size_t>(std::ceil(total / stride)));
    for (std::size_t i = 0; i < points.size(); ++i) points[i] = round_even(total + double(i) * step) - 1;
    return points;
  }
  if (c.spacing == Spacing::leading && total < count) too_many(steps, c, concat("at most ", total - extra));
  const double stride = c.spacing == Spacing::leading ? std::floor(double(total) / count)
                        : count > 1                   ? (total - 1.0) / (count - 1)
                                                      : 0;
  for (int i = count - 1; i >= extra; --i) {
    const double t = c.spacing == Spacing::linspace && i > 0 && i == count - 1 ? total - 1 : i * stride;
    points.push_back(c.spacing == Spacing::leading ? t + c.steps_offset : rounded ? round_even(t) : float(t));
  }
  return points;
}

std::vector<int> whole_timesteps(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps) {
  if (steps > c.train_steps) too_many(steps, c, concat("at most ", c.train_steps));
  const std::vector<double> points = spaced(c, steps, c.train_steps, 0, true);
  if (points.front() >= schedule.size())
    too_many(steps, c, concat("with steps_offset ", c.steps_offset, " the first would be timestep ", points.front()));
  return {points.begin(), points.end()};
}

Node end_of_step(const SchedulerConfig& c, const NoiseSchedule& schedule, int t) {
  return t >= 0 ? schedule.node(t) : c.set_alpha_to_one ? kClean : schedule.node(0);
}

namespace {

// The p-quantile of Beta(a, a), a = 0.6, by bisection of the power series of its distribution function.
double beta_quantile(double p) {
  constexpr double a = 0.6;
  if (p > 0.5) return 1 - beta_quantile(1 - p);
  const double whole = std::tgamma(a) * std::tgamma(a) / std::tgamma(2 * a);
  const auto share = [&](double x) {  // below x <= 1/2
    double sum = 0, term = 1;
    for (int n = 0; n < 60; term *= (n + 1 - a) / (n + 1) * x, ++n) sum += term / (a + n);
    return std::pow(x, a) * sum / whole;
  };
  double low = 0, high = 0.5;
  for (int i = 0; i < 100; ++i) (share((low + high) / 2) < p ? low : high) = (low + high) / 2;
  return p == 0 ? 0 : low;
}

}  // namespace

std::vector<double> scheduled_sigmas(SigmaSchedule schedule, double high, double low, int count) {
  std::vector<double> sigmas;
  for (int i = 0; i < count; ++i) {
    const double u = count > 1 ? i / (count - 1.0) : 0;
    double sigma = std::exp(std::log(high) + u * (std::log(low) - std::log(high)));  // exponential, lu
    if (schedule == SigmaSchedule::karras)
      sigma = std::pow(std::pow(high, 1 / 7.0) + u * (std::pow(low, 1 / 7.0) - std::pow(high, 1 / 7.0)), 7);
    if (schedule == SigmaSchedule::beta) sigma = low + beta_quantile(1 - u) * (high - low);
    sigmas.push_back(sigma);
  }
  return sigmas;
}

void reschedule(Points& points, const SchedulerConfig& c, const NoiseSchedule& schedule, int steps, double largest,
                double smallest) {
  if (c.sigmas == SigmaSchedule::standard) return;
  points = {};
  points.sigma = scheduled_sigmas(c.sigmas, c.sigma_max.value_or(largest), c.sigma_min.value_or(smallest), steps);
  for (double sigma : points.sigma) points.t.push_back(schedule.time(sigma));
}

Points k_points(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps) {
  Points points{spaced(c, steps, c.train_steps, 0, false), {}};
  for (double t : points.t) points.sigma.push_back(schedule.sigma(t));
  if (c.log_linear) {  // steps + 1 sigmas from end to end, whatever the timesteps
    const double high = std::log(schedule.sigma(schedule.size() - 1)), low = std::log(schedule.sigma(0));
    points.sigma.clear();
    for (int i = 0; i <= steps; ++i) points.sigma.push_back(std::exp(high + (low - high) * i / steps));
  }
  reschedule(points, c, schedule, steps, points.sigma.front(), points.sigma.back());
  points.sigma.push_back(c.final_sigma_zero ? 0 : schedule.sigma(0));
  for (double& sigma : points.sigma) sigma = static_cast<float>(sigma);
  if (c.continuous && c.prediction == Prediction::v)
    for (std::size_t i = 0; i < points.t.size(); ++i) points.t[i] = 0.25 * std::log(points.sigma[i]);
  return points;
}

double start_scale(const SchedulerConfig& c, const Points& points) {
  const double largest = *std::max_element(points.sigma.begin(), points.sigma.end());
  return c.spacing == Spacing::leading ? std::hypot(largest, 1) : largest;
}

}  // namespace sdgen
