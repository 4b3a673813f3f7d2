// Networks that are shown something beside the noisy latents.
#pragma once

#include <ATen/ops/cat.h>

#include <memory>
#include <vector>

#include "nn/backbone.h"

namespace sdgen {

// A network that takes the latents' channels and more: here are the others, the same at every step (a mask and what is
// left of the picture under it: Rombach et al., 2022, section 4.5; a depth map).
class Widened final : public Backbone {
 public:
  // extra_channels: [1 or rows, C', H, W] float32. Under guidance a batch is [rows; rows].
  Widened(std::shared_ptr<const Backbone> network, at::Tensor extra_channels)
      : network_(std::move(network)), extra_channels_(std::move(extra_channels)) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override {
    const at::Tensor all = extra_channels_.repeat({x.size(0) / extra_channels_.size(0), 1, 1, 1});
    return network_->predict(at::cat({x, all}, 1), t, conditioning);
  }

 private:
  std::shared_ptr<const Backbone> network_;
  at::Tensor extra_channels_;
};

// A network that is shown pictures: here are their latents, the same at every step.
class Shown final : public Backbone {
 public:
  // references: [1 or rows, C, h, w] float32 each. Under guidance a batch is [rows; rows].
  Shown(std::shared_ptr<const Backbone> network, std::vector<at::Tensor> references)
      : network_(std::move(network)), references_(std::move(references)) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override {
    Conditioning all = conditioning;
    for (const at::Tensor& reference : references_)
      all.references.push_back(reference.repeat({x.size(0) / reference.size(0), 1, 1, 1}));
    return network_->predict(x, t, all);
  }

 private:
  std::shared_ptr<const Backbone> network_;
  std::vector<at::Tensor> references_;
};

}  // namespace sdgen
