// From what a network says to a predicted x0.
#pragma once

#include <optional>

#include "diffusion/types.h"

namespace sdgen {

// The network's output for noisy latents of unit variance at timestep t; its conditioning is bound inside.
using Network = std::function<at::Tensor(const at::Tensor& x, double t)>;

// With a guidance scale (classifier-free guidance, Ho & Salimans, 2022, equation 6) the network is asked for both
// halves of [x; x], the first without and the second with the prompt, and its answers are combined as u + scale * (c -
// u).
Denoise denoiser(Network network, Prediction prediction, std::optional<double> guidance_scale);

}  // namespace sdgen
