#include "stages/start.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

namespace sdgen {
namespace {

using at::Tensor;

// The noise level that latents have on entry i, as diffusers' add_noise sees it: of second-order steps the second entry
// has the level that the step ends at, also where (dpm2) the network is asked half way.
const Node& level(const Leg& leg, std::size_t i) {
  const Step& step = leg.grid.steps[i];
  return leg.scheduler.row->in_pairs() && i % 2 ? step.to : step.from;
}

// Where the mask is black, the picture `x0` is put back after every entry, as noisy as the next one begins, and clean
// after the last (Lugmayr et al., 2022, equation 8).
auto blending(const Leg& leg, const Tensor& mask, const Tensor& x0, const Tensor& noise) {
  return [&leg, mask, x0, noise](const Tensor& x, std::size_t i) -> Tensor {
    const Tensor kept = i < leg.end ? level(leg, i).alpha * x0 + level(leg, i).sigma * noise : x0;
    return (1 - mask) * kept + mask * x;
  };
}

}  // namespace

Start first_start(const Leg& leg, const Request& r, const Source& source, SeededNoise& noise, const Encoder& encoder) {
  if (!source.pixels.defined()) return {noise() * leg.grid.start_scale};
  const bool masked = source.mask.defined(), shown = leg.parts.beside == Beside::masked_picture;
  const bool pure = masked && *r.strength == 1;
  const Tensor x0 = pure && shown ? Tensor() : encoder.encode(source.pixels, std::ref(noise));
  const Tensor drawn = noise();
  Start start{pure ? drawn * leg.grid.start_scale : noised(x0, drawn, leg.grid.steps[leg.begin])};
  if (masked) {
    if (shown) {
      const Tensor rest = encoder.encode(source.pixels * (1 - source.mask), std::ref(noise));
      start.beside = at::cat({source.latent_mask.expand({rest.size(0), -1, -1, -1}), rest}, 1);
    } else {
      if (encoder.draws) noise();  // diffusers encodes the masked picture for these networks too
      start.between = blending(leg, source.latent_mask, x0, drawn);
    }
  }
  if (leg.parts.beside == Beside::depth) start.beside = source.depth;
  return start;
}

Start refiner_start(const Leg& leg, const Source& source, const Tensor& x, SeededNoise& noise) {
  if (!source.mask.defined()) return {x};
  return {x, blending(leg, source.latent_mask, x, noise())};
}

}  // namespace sdgen
