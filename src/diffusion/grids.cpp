#include "diffusion/grids.h"

#include <algorithm>
#include <cmath>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// numpy's rounding: halves to even.
double round_even(double x) { return std::nearbyint(x); }

// numpy.linspace(0, last, count), from the last to the first.
std::vector<double> descending_line(double last, int count) {
  std::vector<double> points(count);
  const double step = count > 1 ? last / (count - 1) : 0;
  for (int i = 0; i < count; ++i) points[count - 1 - i] = i * step;
  if (count > 1) points[0] = last;
  return points;
}

// numpy.arange(last, 0, -total/count).round() - 1. Its step is rounded as numpy rounds it, and so is its length: for
// some counts (61, 103, ...) there is one point more, timestep -1, and diffusers runs it.
std::vector<double> trailing_points(double last, double total, int count) {
  const double stride = total / count, step = (last - stride) - last;
  std::vector<double> points(static_cast<std::size_t>(std::ceil(last / stride)));
  for (std::size_t i = 0; i < points.size(); ++i) points[i] = round_even(last + i * step) - 1;
  return points;
}

[[noreturn]] void too_many(int steps, const SchedulerConfig& config, const std::string& why) {
  throw Error(Fault::usage, concat(steps, " steps do not fit ", config.class_name, " with ", config.train_steps,
                                   " training timesteps and ", spacing_name(config.spacing), " spacing: ", why));
}

// The timesteps of DDPM, DDIM and PNDM: rounded, N of them, descending.
std::vector<int> rounded_timesteps(const SchedulerConfig& c, const NoiseSchedule& schedule, int steps) {
  if (steps > c.train_steps) too_many(steps, c, concat("at most ", c.train_steps));
  std::vector<double> points;
  switch (c.spacing) {
    case Spacing::linspace:
      points = descending_line(c.train_steps - 1, steps);
      std::transform(points.begin(), points.end(), points.begin(), round_even);
      break;
    case Spacing::leading:
      for (int i = steps - 1; i >= 0; --i) points.push_back(i * (c.train_steps / steps) + c.steps_offset);
      break;
    case Spacing::trailing:
      points = trailing_points(c.train_steps, c.train_steps, steps);
      break;
  }
  const std::vector<int> timesteps(points.begin(), points.end());
  if (timesteps.front() >= schedule.size())
    too_many(steps, c,
             concat("with steps_offset ", c.steps_offset, " the first would be timestep ", timesteps.front()));
  return timesteps;
}

// x0 itself, where the last step ends.
constexpr Node kClean{0, 1, 0};

// Where a step begins. Timestep -1 (see trailing_points) is the last one of the table, as it is for Python's index.
Node begin(const NoiseSchedule& schedule, int t) {
  Node node = schedule.node(t < 0 ? t + schedule.size() : t);
  node.t = t;
  return node;
}

// Where a step ends: before the first timestep is `beyond`.
Node end(const NoiseSchedule& schedule, int t, const Node& beyond) { return t < 0 ? beyond : schedule.node(t); }

}  // namespace

Grid ddpm_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  Grid grid;
  std::vector<int> timesteps = rounded_timesteps(config, schedule, steps);
  timesteps.push_back(-1);
  for (std::size_t i = 0; i + 1 < timesteps.size(); ++i)
    grid.steps.push_back({begin(schedule, timesteps[i]), end(schedule, timesteps[i + 1], kClean)});
  return grid;
}

Grid ddim_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  const Node beyond = config.set_alpha_to_one ? kClean : schedule.node(0);
  Grid grid;
  for (int t : rounded_timesteps(config, schedule, steps))
    grid.steps.push_back({begin(schedule, t), end(schedule, t - config.train_steps / steps, beyond)});
  return grid;
}

Grid plms_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  Grid grid = ddim_grid(config, schedule, steps);
  if (steps > 1) {
    const int second = static_cast<int>(grid.steps[1].from.t), before = second + config.train_steps / steps;
    if (before >= schedule.size()) too_many(steps, config, concat("it would begin at timestep ", before));
    grid.steps.insert(grid.steps.begin() + 1, Step{schedule.node(before), schedule.node(second)});
  }
  return grid;
}

Grid euler_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  std::vector<double> points;
  switch (config.spacing) {
    case Spacing::linspace:  // the one class whose timesteps are not rounded; float32, as the network is told them
      for (double t : descending_line(config.train_steps - 1, steps)) points.push_back(static_cast<float>(t));
      break;
    case Spacing::leading:
      for (int i = steps - 1; i >= 0; --i) points.push_back(i * (config.train_steps / steps) + config.steps_offset);
      break;
    case Spacing::trailing:
      points = trailing_points(config.train_steps, config.train_steps, steps);
      break;
  }
  Grid grid;
  const auto node = [&schedule](double t) { return Node{t, 1, static_cast<float>(schedule.sigma(t))}; };
  const Node last{0, 1, config.final_sigma_zero ? 0 : static_cast<float>(schedule.sigma(0))};
  for (std::size_t i = 0; i < points.size(); ++i)
    grid.steps.push_back({node(points[i]), i + 1 < points.size() ? node(points[i + 1]) : last});
  double largest = last.sigma;
  for (const Step& step : grid.steps) largest = std::max(largest, step.from.sigma);
  grid.start_scale = config.spacing == Spacing::leading ? std::hypot(largest, 1) : largest;
  return grid;
}

Grid dpm_solver_grid(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
  // Timesteps whose log signal-to-noise ratio is below the bound are left out (for the cosine schedule).
  int last = config.train_steps;
  while (last > 0 && -std::log(schedule.sigma(last - 1)) < config.lambda_min_clipped) --last;
  if (last == 0) too_many(steps, config, "lambda_min_clipped leaves no timestep");
  std::vector<double> points;
  switch (config.spacing) {
    case Spacing::linspace:
      points = descending_line(last - 1, steps + 1);
      std::transform(points.begin(), points.end(), points.begin(), round_even);
      points.pop_back();
      break;
    case Spacing::leading:
      for (int i = steps; i >= 1; --i) points.push_back(i * (last / (steps + 1)) + config.steps_offset);
      break;
    case Spacing::trailing:
      points = trailing_points(last, config.train_steps, steps);
      break;
  }
  for (std::size_t i = 1; i < points.size(); ++i)
    if (points[i] >= points[i - 1]) too_many(steps, config, concat("timestep ", points[i], " would come twice"));

  const auto node = [](double t, double ratio) {  // ratio = sigma/alpha -> variance-preserving
    ratio = static_cast<float>(ratio);
    const double alpha = 1 / std::hypot(1, ratio);
    return Node{t, alpha, ratio * alpha};
  };
  Grid grid;
  const Node last_node = config.final_sigma_zero ? kClean : node(0, schedule.sigma(0));
  for (std::size_t i = 0; i < points.size(); ++i)
    grid.steps.push_back({node(points[i], schedule.sigma(points[i])),
                          i + 1 < points.size() ? node(points[i + 1], schedule.sigma(points[i + 1])) : last_node});
  return grid;
}

}  // namespace sdgen
