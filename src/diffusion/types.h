// The vocabulary of the samplers, in DPM-Solver's notation (Lu et al., 2022): a noisy picture is
//   x = alpha * x0 + sigma * noise.
// Variance-preserving (alpha^2 + sigma^2 = 1), variance-exploding (alpha = 1) and flow models (alpha = 1 - sigma) are
// all such nodes, so that one sampler body serves them. Scalars are host doubles: nothing in the loop reads back from
// the device.
#pragma once

#include <torch/types.h>

#include <functional>
#include <span>

namespace sdgen {

struct Node {
  double t;  // what the network is told
  double alpha, sigma;
};

// One step of a sampler. Mostly steps[i].to is steps[i+1].from; where a diffusers class steps elsewhere (DDIM and PNDM
// go to t - floor(1000/N) whatever the next timestep is) the two differ.
struct Step {
  Node from, to;
};

// Predicted x0 of x at a node: guidance included, not clipped.
using Denoise = std::function<at::Tensor(const at::Tensor& x, const Node& at)>;
// The next unit Gaussian, shaped like x.
using Noise = std::function<at::Tensor()>;
// From x at steps.front().from to the picture at steps.back().to.
using Sampler = std::function<at::Tensor(const Denoise&, std::span<const Step>, at::Tensor x, const Noise&)>;

// Where a run goes and what it starts from: x = start_scale * unit noise.
struct Grid {
  std::vector<Step> steps;
  double start_scale = 1.0;
};

// What the network predicts (Salimans & Ho, 2022, for v = alpha*noise - sigma*x0).
enum class Prediction { epsilon, v, sample };
// Which timesteps a run of N steps visits (Lin et al., 2023, table 2).
enum class Spacing { leading, linspace, trailing };

}  // namespace sdgen
