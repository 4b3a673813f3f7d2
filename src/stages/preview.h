// What a picture under way looks like: quickly, not exactly.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "families/families.h"

namespace sdgen {

// The best linear map from the channels of a latent to the mean colour of its pixels, found by
// decoding one small square of random latents.
class Projection {
 public:
  // The square's side in latents, and of how many alike its patches are: neighbours are alike in pictures too, and
  // decoders expect that range.
  static constexpr std::int64_t kSide = 16, kPatch = 2;

  // `spread`: the latents' root mean square in pictures. A decode of kSide x kSide latents; no generator that draws for
  // pictures is touched.
  Projection(const Autoencoder& autoencoder, std::int64_t channels, std::int64_t factor, double spread,
             at::Device device);

  // Latents [B, C, h, w] -> colours [B, 3, h, w] in about [-1, 1].
  at::Tensor operator()(const at::Tensor& latents) const;

 private:
  at::Tensor weight_;  // [C + 1, 3]: the last row is constant
};

// Turns what a network takes for the finished latents into pictures: by the autoencoder where that is quick (a tiny
// one, or none at all), else by a Projection, which is fitted when it is first needed.
class Previewer {
 public:
  Previewer(const Parts& parts, const Autoencoder& autoencoder) : parts_(parts), autoencoder_(autoencoder) {}

  // The first `count` of x0 [B, C, h, w], in the size of their pictures. Tells the observer what fitting cost.
  std::vector<Image> operator()(const at::Tensor& x0, std::size_t count, Observer& observer);

 private:
  const Parts& parts_;
  const Autoencoder& autoencoder_;
  std::unique_ptr<const Projection> projection_;
};

}  // namespace sdgen
