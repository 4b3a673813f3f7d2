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
  Tensor forward(Tensor x, const Tensor& time, const Conditioning& conditioning, std::vector<Tensor>& skips) const;
  // The layers from `begin` to `end` of it, each a resnet and its attention.
  Tensor layers(std::size_t begin, std::size_t end, Tensor x, const Tensor& time, const Conditioning& conditioning,
                std::vector<Tensor>& skips) const;
  std::size_t count() const { return resnets_.size(); }

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
  Tensor decode(Features features, const Conditioning& conditioning) const;

  // The same answer as predict()'s, and what the last `layers` layers of the way up took from those below: `deep`.
  Tensor predict_keeping(const Tensor& x, const Tensor& t, const Conditioning& conditioning, std::size_t layers,
                         Tensor& deep) const;
  // These layers' answer alone, and that of the layers of the way down whose skips they take, over what others said
  // before: 1 <= layers <= finest_layers().
  Tensor predict_over(const Tensor& deep, const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                      std::size_t layers) const;
  std::size_t finest_layers() const { return up_.back()->count(); }

 private:
  // All of the way up but the last `layers` layers, and these; both take their skips from the features.
  Tensor deep(Features& features, const Conditioning& conditioning, std::size_t layers) const;
  Tensor end(const Tensor& deep, Features& features, const Conditioning& conditioning, std::size_t layers) const;

  std::shared_ptr<Conv2d> conv_out_;
  std::vector<std::shared_ptr<UpBlock>> up_;
  std::shared_ptr<GroupNorm> norm_out_;
};

}  // namespace sdgen
