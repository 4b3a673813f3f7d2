// ControlNet (Zhang et al., 2023, "Adding Conditional Control to Text-to-Image Diffusion Models"; diffusers'
// ControlNetModel): a copy of a U-Net's first half that sees a picture too, and whose results are added to the U-Net's
// through 1x1 convolutions that were zero when training began.
#pragma once

#include <memory>
#include <vector>

#include "nn/unet_encoder.h"

namespace sdgen {

// The fields of a ControlNet's config.json that this network implements.
struct ControlNetConfig {
  UNetConfig encoder;
  std::vector<std::int64_t> picture_channels{16, 32, 96, 256};  // of the layers that fold the picture
  bool bgr = false;                                             // the picture's channels are swapped
  bool global_pool = false;                                     // what is added has no place, only a mean

  // Pixels a latent, along a side.
  std::int64_t factor() const { return std::int64_t{1} << (picture_channels.size() - 1); }

  // Throws Error(input) that names key and value for whatever is not supported.
  static ControlNetConfig from(const Config& json);
};

// From a picture to latents' size: convolutions, every second of which halves (section 3.1 of the paper).
struct PictureEmbedding : Module {
  PictureEmbedding(const Weights& w, const std::vector<std::int64_t>& channels, std::int64_t out);
  Tensor forward(const Tensor& picture) const;  // [B, 3, H, W] -> [B, out, H/factor, W/factor]

 private:
  std::shared_ptr<Conv2d> conv_in_, conv_out_;
  std::vector<std::shared_ptr<Conv2d>> blocks_;
};

class ControlNet : public UNetEncoder {
 public:
  ControlNet(const Weights& w, ControlNetConfig config);

  // A picture [1, 3, H, W] in [0, 1] as forward() wants it. The same at every step.
  Tensor embed(const Tensor& picture) const;

  // What is added to the U-Net's skips and mid.
  struct Residuals {
    std::vector<Tensor> skips;
    Tensor mid;
  };
  // x [B, C >= in_channels, h, w]: of more channels only the first are looked at (an inpainting U-Net's others are the
  // mask and the masked picture). `rising`: the finest residuals count a tenth, those of the middle in full (diffusers'
  // guess mode).
  Residuals forward(const Tensor& x, const Tensor& t, const Conditioning& conditioning, const Tensor& embedded,
                    double scale, bool rising) const;

  const ControlNetConfig& control_config() const { return control_; }

 private:
  ControlNetConfig control_;
  std::shared_ptr<PictureEmbedding> picture_;
  std::vector<std::shared_ptr<Conv2d>> zero_;
  std::shared_ptr<Conv2d> zero_mid_;
};

}  // namespace sdgen
