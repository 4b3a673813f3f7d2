#include "stages/start.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pixel_unshuffle.h>

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

// What a network is given of the picture that it repaints: `rest` are its latents without what the mask covers.
Tensor shown_under_mask(const Parts& parts, const InputPictures& source, const Tensor& rest) {
  const bool every_pixel = parts.extra_channels == ExtraChannels::picture_and_mask;
  const Tensor mask = every_pixel ? at::pixel_unshuffle(source.mask, parts.latents.factor) : source.latent_mask;
  const Tensor masks = mask.expand({rest.size(0), -1, -1, -1});
  return every_pixel ? at::cat({rest, masks}, 1) : at::cat({masks, rest}, 1);
}

std::vector<Tensor> controls_of(const Steering& steering, const InputPictures& source, SeededNoise& noise,
                                const Encoder& encoder) {
  std::vector<Tensor> controls = source.controls;
  for (std::size_t i = 0; i < controls.size(); ++i)
    if (const Sight& sight = steering.sights[i]; sight.of == Sight::Of::latents)
      controls[i] = encoder.encode(controls[i], sight.drawn ? Noise(std::ref(noise)) : Noise()) + sight.offset;
  return controls;
}

// Without what steers beside the network.
Start start_of_network(const ModelRun& run, const Request& r, const InputPictures& source, SeededNoise& noise,
                       const Encoder& encoder) {
  const ExtraChannels extra = run.parts.extra_channels;
  if (!source.pixels.defined()) {
    Start start;
    if (source.steering.defined()) start.extra_channels = encoder.encode(source.steering, std::ref(noise));
    for (const Tensor& shown : source.references) start.references.push_back(encoder.encode(shown, {}));
    start.x = noise() * run.grid.start_scale;
    return start;
  }
  const bool masked = source.mask.defined(), pure = masked && *r.strength == 1;
  const bool unused = pure && extra == ExtraChannels::masked_picture;
  const Tensor x0 = unused ? Tensor() : encoder.encode(source.pixels, std::ref(noise));
  const Tensor drawn = noise();
  Start start{pure ? drawn * run.grid.start_scale : noised(x0, drawn, run.grid.steps[run.begin])};
  if (masked) {
    if (extra == ExtraChannels::masked_picture || extra == ExtraChannels::picture_and_mask) {
      start.extra_channels = shown_under_mask(run.parts, source, encoder.encode(source.uncovered(), std::ref(noise)));
    } else {
      if (encoder.draws) noise();  // diffusers encodes the masked picture for these networks too
      start.between = blending(run, source.latent_mask, x0, drawn);
    }
  }
  if (extra == ExtraChannels::depth) start.extra_channels = source.depth;
  return start;
}

}  // namespace

Start first_start(const ModelRun& run, const Request& r, const InputPictures& source, SeededNoise& noise,
                  const Encoder& encoder) {
  std::vector<Tensor> controls = controls_of(run.parts.steering, source, noise, encoder);
  Start start = start_of_network(run, r, source, noise, encoder);
  start.controls = std::move(controls);
  return start;
}

Start refiner_start(const ModelRun& run, const InputPictures& source, const Tensor& x, SeededNoise& noise) {
  if (!source.mask.defined()) return {x};
  return {x, blending(run, source.latent_mask, x, noise())};
}

}  // namespace sdgen
