// Pseudo numerical methods.
#include "diffusion/grids.h"
#include "diffusion/sampling.h"

namespace sdgen {

using at::Tensor;

// As DDIM's. plms: the second entry comes twice, and `via` is t + floor(T/N), where the second call's step begins.
// pndm: twelve Runge-Kutta entries come first, and their `via` is half a step below t.
Grid pndm_grid(const SchedulerConfig& config, const GridWish& wish) {
  const NoiseSchedule schedule(config);
  const int steps = wish.steps, stride = config.train_steps / steps, half = stride / 2;
  const std::vector<int> t = whole_timesteps(config, schedule, steps);
  std::vector<int> times = t;
  if (!config.skip_prk_steps) {
    if (steps < 4) too_many(steps, config, "at least 4 for the Runge-Kutta warm-up; plms has none");
    times.assign(t.begin() + 3, t.end());
    for (int i = 2; i >= 0; --i) times.insert(times.begin(), {t[i], t[i + 1] + half, t[i + 1] + half, t[i + 1]});
  } else if (steps > 1) {
    if (t[1] + stride >= schedule.size()) too_many(steps, config, concat("it would begin at ", t[1] + stride));
    times.insert(times.begin() + 1, t[1]);
  }
  Grid grid;
  for (int at : times)
    grid.steps.push_back({schedule.node(at), end_of_step(config, schedule, at - stride),
                          config.skip_prk_steps ? schedule.node(std::min(at + stride, schedule.size() - 1))
                                                : end_of_step(config, schedule, at - half)});
  return grid;
}

// Liu et al., 2022: Adams-Bashforth on the network's output (equation 12), begun by an improved Euler step (plms) or by
// three pseudo Runge-Kutta steps (pndm: equation 13).
Sampler pndm(const SchedulerConfig& config) {
  const std::size_t warm = config.skip_prk_steps ? 0 : 12;  // calls of the Runge-Kutta steps
  return [v = config.prediction == Prediction::v, warm](const Denoise& denoise, const GridSpan& span, Tensor x,
                                                        const Noise&) {
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
    for (std::size_t i = span.begin; i < span.end; span.next(i, x)) {
      const auto& [a, b, via] = span.grid[i];
      const std::size_t call = i - span.begin, stage = call % 4;
      const Tensor out = output(x, a);
      if (call < warm) {
        if (stage == 0) remember(past, out, 4), start = x;
        sum = stage == 0 ? out / 6 : sum + out / (stage == 3 ? 6 : 3);
        x = move(start, stage == 3 ? sum : out, span.grid[call - stage].from, stage % 2 ? a : via);
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

}  // namespace sdgen
