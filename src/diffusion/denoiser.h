// From what a network says to a predicted x0.
#pragma once

#include <optional>
#include <vector>

#include "diffusion/types.h"

namespace sdgen {

// The network's output for noisy latents at timestep t; its conditioning is bound inside.
using Network = std::function<at::Tensor(const at::Tensor& x, double t)>;

// Classifier-free guidance.
struct Guidance {
  double scale;  // u + scale * (c - u) of the answers without and with the prompt (Ho & Salimans, 2022, equation 6)
  double rescale = 0;  // phi of Lin et al. (2023, section 3.4): how far each picture's deviation goes back to that of c
  // Of several prompts, u + scale * sum of weight * (c - u) (Liu et al., 2022, equation 11).
  std::vector<double> weights = {1};
  // In squares of so many latents a side, whose numbers are a vector, the result is as long as the answer with the
  // prompt (Wu et al., 2025, "Qwen-Image"; diffusers' QwenImagePipeline). 0: it is as it comes.
  std::int64_t keeps_lengths = 0;
};

// With guidance the network is asked for [x; x; ...], first without a prompt and then with each.
Denoise denoiser(Network network, Prediction prediction, const std::optional<Guidance>& guidance);

}  // namespace sdgen
