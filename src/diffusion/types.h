// The vocabulary of the samplers, in DPM-Solver's notation (Lu et al., 2022): a noisy picture is
//   x = alpha * x0 + sigma * noise.
// Variance-preserving (alpha^2 + sigma^2 = 1), variance-exploding (alpha = 1) and flow models (alpha = 1 - sigma) are
// all such nodes, so that one sampler body serves them. Scalars are host doubles: nothing in the loop reads back from
// the device.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

namespace sdgen {

struct Node {
  double t;  // the timestep that the network gets
  double alpha, sigma;
};

// One network call and where it leads, one for every entry of diffusers' `scheduler.timesteps`. Mostly entry i+1 begins
// where entry i ends; where a diffusers class steps elsewhere (DDIM and PNDM go to t - floor(1000/N) whatever the next
// timestep is) the two differ. `via` is a third node for the samplers that need one.
struct Step {
  Node from, to, via{};
};

// The part [begin, end) of a grid that a sampler runs: all of it, or for image to image and for the refiner a part.
// History begins at `begin`; what depends on the number of steps ("the last", "fewer than 15") looks at the whole grid.
// Samplers of two calls a step (SchedulerInfo::in_pairs) have two entries a step: `begin` is even.
struct GridSpan {
  std::span<const Step> grid;
  std::size_t begin = 0, end = grid.size();
  // What x goes on as from entry `i`, or at last as `i` == grid.size() (inpainting puts back what is kept); may be
  // empty. It touches no history.
  std::function<at::Tensor(const at::Tensor& x, std::size_t i)> between = {};

  // From entry i, which x has passed, to the next.
  void next(std::size_t& i, at::Tensor& x) const {
    ++i;
    if (between) x = between(x, i);
  }
};

// Predicted x0 of x at a node: guidance included, not clipped.
using Denoise = std::function<at::Tensor(const at::Tensor& x, const Node& at)>;
// The next unit Gaussian, shaped like x.
using Noise = std::function<at::Tensor()>;
// From x at the run's first node to the picture at its last.
using Sampler = std::function<at::Tensor(const Denoise&, const GridSpan&, at::Tensor x, const Noise&)>;

// Where a run goes and what it starts from: x = start_scale * unit noise.
struct Grid {
  std::vector<Step> steps;
  double start_scale = 1.0;
};

// What the network predicts: noise; v = alpha*noise - sigma*x0 (Salimans & Ho, 2022); x0; or noise - x0, which is how x
// moves with sigma where alpha = 1 - sigma (Lipman et al., 2023; Esser et al., 2024).
enum class Prediction { epsilon, v, sample, flow };
// Which timesteps a run of N steps visits (Lin et al., 2023, table 2).
enum class Spacing { leading, linspace, trailing };
// Which sigmas: those of the timesteps; Karras et al. (2022, equation 5); evenly spaced logarithms; quantiles of
// Beta(0.6, 0.6) (Lee et al., 2024); evenly spaced lambdas (Lu et al., 2022).
enum class SigmaSchedule { standard, karras, exponential, beta, lu };

}  // namespace sdgen
