// Networks that are shown something beside the noisy latents.
#pragma once

#include <ATen/ops/cat.h>

#include "nn/backbone.h"

namespace sdgen {

// A network that takes the latents' channels and more: here are the others, the same at every step (a mask and what is
// left of the picture under it: Rombach et al., 2022, section 4.5; a depth map).
class Widened : public Backbone {
 public:
  // beside: [1 or rows, C', H, W] float32. Under guidance a batch is [rows; rows]. `network` must outlive it.
  Widened(const Backbone& network, at::Tensor extra_channels)
      : network_(network), extra_channels_(std::move(extra_channels)) {}

  at::Tensor predict(const at::Tensor& x, double t, const Conditioning& conditioning) const override {
    const at::Tensor all = extra_channels_.repeat({x.size(0) / extra_channels_.size(0), 1, 1, 1});
    return network_.predict(at::cat({x, all}, 1), t, conditioning);
  }

 private:
  const Backbone& network_;
  at::Tensor extra_channels_;
};

}  // namespace sdgen
