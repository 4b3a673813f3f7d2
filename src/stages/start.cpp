#include "stages/start.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

namespace sdgen {
namespace {

using at::Tensor;

// The noise level that latents have on entry i, as diffusers' add_noise sees it: of second-order steps the second entry
// has the level that the step ends at, also where (dpm2) the network is asked half way.
const Node& level(const ModelRun& run, std::size_t i) {
  const Step& step = run.grid.steps[i];
  return run.scheduler.row->in_pairs() && i % 2 ? step.to : step.from;
}

// Where the mask is black, the picture `x0` is put back after every entry, as noisy as the next one begins, and clean
// after the last (Lugmayr et al., 2022, equation 8).
auto blending(const ModelRun& run, const Tensor& mask, const Tensor& x0, const Tensor& noise) {
  return [&run, mask, x0, noise](const Tensor& x, std::size_t i) -> Tensor {
    const Tensor kept = i < run.end ? level(run, i).alpha * x0 + level(run, i).sigma * noise : x0;
    return (1 - mask) * kept + mask * x;
  };
}

}  // namespace

Start first_start(const ModelRun& run, const Request& r, const InputPictures& source, SeededNoise& noise,
                  const Encoder& encoder) {
  if (!source.pixels.defined()) return {noise() * run.grid.start_scale};
  const bool masked = source.mask.defined(), shown = run.parts.extra_channels == ExtraChannels::masked_picture;
  const bool pure = masked && *r.strength == 1;
  const Tensor x0 = pure && shown ? Tensor() : encoder.encode(source.pixels, std::ref(noise));
  const Tensor drawn = noise();
  Start start{pure ? drawn * run.grid.start_scale : noised(x0, drawn, run.grid.steps[run.begin])};
  if (masked) {
    if (shown) {
      const Tensor rest = encoder.encode(source.pixels * (1 - source.mask), std::ref(noise));
      start.extra_channels = at::cat({source.latent_mask.expand({rest.size(0), -1, -1, -1}), rest}, 1);
    } else {
      if (encoder.draws) noise();  // diffusers encodes the masked picture for these networks too
      start.between = blending(run, source.latent_mask, x0, drawn);
    }
  }
  if (run.parts.extra_channels == ExtraChannels::depth) start.extra_channels = source.depth;
  return start;
}

Start refiner_start(const ModelRun& run, const InputPictures& source, const Tensor& x, SeededNoise& noise) {
  if (!source.mask.defined()) return {x};
  return {x, blending(run, source.latent_mask, x, noise())};
}

}  // namespace sdgen
