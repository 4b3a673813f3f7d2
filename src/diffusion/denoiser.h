// From what a network says to a predicted x0.
#pragma once

#include <optional>
#include <vector>

#include "diffusion/types.h"

namespace sdgen {

// The network's output for noisy latents at timestep t; its conditioning is bound inside.
using Network = std::function<at::Tensor(const at::Tensor& x, double t)>;

// What of a guided answer gets the length back that it has in the answer with the prompt.
enum class KeptNorms {
  none,
  of_rows,  // every row of pixels (Lumina-Image 2.0's "CFG renormalisation", as diffusers' Lumina2Pipeline computes it)
  of_tokens,  // every square of 2x2 latents, of all channels (Wu et al., 2025, "Qwen-Image")
};

// Classifier-free guidance.
struct Guidance {
  double scale;  // u + scale * (c - u) of the answers without and with the prompt (Ho & Salimans, 2022, equation 6)
  double rescale = 0;  // phi of Lin et al. (2023, section 3.4): how far each picture's deviation goes back to that of c
  // Of several prompts, u + scale * sum of weight * (c - u) (Liu et al., 2022, equation 11).
  std::vector<double> weights = {1};
  KeptNorms kept_norms = KeptNorms::none;
};

// With guidance the network is asked for [x; x; ...], first without a prompt and then with each.
Denoise denoiser(Network network, Prediction prediction, const std::optional<Guidance>& guidance);

}  // namespace sdgen
