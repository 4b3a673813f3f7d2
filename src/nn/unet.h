// The U-Net of Stable Diffusion (Rombach et al., 2022; diffusers' UNet2DConditionModel), and without a text to attend
// to that of the denoising diffusion models before it (Ho et al., 2020; diffusers' UNet2DModel).
#pragma once

#include <memory>
#include <vector>

#include "nn/unet_encoder.h"

namespace sdgen {

// One level on the way up: takes the skips back in reverse order, then twice the size.
struct UpBlock : Module {
  UpBlock(const Weights& w, const UNetConfig& config, std::size_t level, bool upsample);
  Tensor forward(Tensor x, const Tensor& time, const Tensor& context, std::vector<Tensor>& skips) const;

 private:
  std::vector<std::shared_ptr<ResnetBlock>> resnets_;
  std::vector<std::shared_ptr<ImageAttention>> attentions_;
  std::shared_ptr<Upsample> upsample_;
};

class UNet : public UNetEncoder, public Backbone {
 public:
  UNet(const Weights& w, UNetConfig config);

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override;

  // The second half, so that others can work between the two (a ControlNet adds to skips and mid).
  Tensor decode(Features features, const Tensor& context) const;

 private:
  std::shared_ptr<Conv2d> conv_out_;
  std::vector<std::shared_ptr<UpBlock>> up_;
  std::shared_ptr<GroupNorm> norm_out_;
};

}  // namespace sdgen
