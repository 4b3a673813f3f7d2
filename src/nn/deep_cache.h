// A U-Net that uses again, at some calls, what its deep layers said at an earlier one: from one noise level to the next
// it changes little.
#pragma once

#include <memory>

#include "nn/prompted.h"
#include "nn/unet.h"

namespace sdgen {

// DeepCache (Ma, Fang and Wang, 2024, "DeepCache: Accelerating Diffusion Models for Free"): the whole U-Net at every
// Nth call; between them the last layers of the way up, and what of the way down they take, over what all others said
// then. All of it, too, where the prompts or the number of rows are others than at the call before.
//
// It remembers a run's calls: one for each run.
class DeepCached final : public Backbone {
 public:
  // `layers`: of the way up that are asked at every call, 1 or more; of the finest level at most.
  DeepCached(std::shared_ptr<const UNet> unet, int every, int layers)
      : unet_(std::move(unet)), every_(every), layers_(static_cast<std::size_t>(layers)) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override;

 private:
  std::shared_ptr<const UNet> unet_;
  int every_;
  std::size_t layers_;
  mutable int left_ = 0;  // calls until the whole network is asked
  mutable at::Tensor deep_;
  mutable Prompted prompted_;
};

}  // namespace sdgen
