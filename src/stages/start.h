// What a model's run begins with, and what it is given on the way.
#pragma once

#include "diffusion/noise.h"
#include "stages/input_pictures.h"
#include "stages/model_run.h"

namespace sdgen {

struct Start {
  at::Tensor x;  // [rows, C, h, w]: the latents that the run begins with
  std::function<at::Tensor(const at::Tensor& x, std::size_t i)> between = {};  // see GridSpan
  // [1 or rows, C', h, w]: what the network takes beside the latents; undefined: nothing.
  at::Tensor extra_channels = {};
  // Pixels or latents of what steers beside the network; undefined for those that see pixels in [0, 1].
  std::vector<at::Tensor> controls = {};
  std::vector<at::Tensor> references = {};  // [1 or rows, C, h', w'] each: latents of pictures that it is shown
};

// Pictures [1, 3, H, W] -> their latents [1 or rows, C, h, w], drawn with unit noise [rows, C, h, w] where the
// autoencoder `draws`.
struct Encoder {
  std::function<at::Tensor(const at::Tensor& pictures, const Noise& noise)> encode;
  bool draws;
};

// Of a request's first run: pure noise, or a noised picture; with a mask as diffusers' inpainting pipelines have it,
// draw for draw: the picture's posterior (not for U-Nets that are shown the masked picture, when they begin from pure
// noise), the noise, the masked picture's posterior. Posteriors of pictures that steer come before everything else.
Start first_start(const ModelRun& run, const Request& request, const InputPictures& source, SeededNoise& noise,
                  const Encoder& encoder);

// Of the refiner: it goes on with the latents `x`, and where the mask is black with them as they are.
Start refiner_start(const ModelRun& run, const InputPictures& source, const at::Tensor& x, SeededNoise& noise);

}  // namespace sdgen
