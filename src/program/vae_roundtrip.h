// `sdgen vae-roundtrip`: what a model's autoencoder leaves of a picture.
#pragma once

#include <filesystem>

#include "sdgen/sdgen.h"

namespace sdgen {

struct Roundtrip {
  Image image;  // encoded (the posterior's mean) and decoded, in the nearest smaller size that the autoencoder takes
  double psnr;  // against the picture in that size (image/compare.h)
};

// Of the model's autoencoder, or of options.vae where that is given; nothing else is loaded. Throws Error: usage
// (device, precision), input (files, no encoder), device.
Roundtrip vae_roundtrip(const std::filesystem::path& model, const LoadOptions& options, const Image& picture,
                        Observer& observer);

}  // namespace sdgen
