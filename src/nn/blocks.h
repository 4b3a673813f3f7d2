// Convolutional blocks that the U-Net and the autoencoder share.
#pragma once

#include "nn/layers.h"

namespace sdgen {

// What the residual blocks of one network have in common.
struct ResnetConfig {
  std::int64_t time_width = 0;  // width of the time embedding; 0: the block takes none (autoencoder)
  std::int64_t norm_groups = 32;
  double norm_eps = 1e-5;
  Activation act;
  bool scale_shift = false;   // the time embedding scales and shifts the second norm instead of being added
  double output_scale = 1.0;  // the sum is divided by this
};

// norm -> act -> conv, plus time embedding, norm -> act -> conv, plus shortcut (Ho et al., 2020, appendix B).
struct ResnetBlock : Module {
  ResnetBlock(const Weights& w, std::int64_t in, std::int64_t out, const ResnetConfig& config);
  // x [B, in, H, W]; time [B, time_width], already activated once for all blocks of a network; -> [B, out, H, W]
  Tensor forward(const Tensor& x, const Tensor& activated_time) const;
  Tensor forward(const Tensor& x) const { return forward(x, Tensor()); }

 private:
  ResnetConfig config_;
  std::shared_ptr<GroupNorm> norm1_, norm2_;
  std::shared_ptr<Conv2d> conv1_, conv2_, shortcut_;
  std::shared_ptr<Linear> time_;
};

// Half the height and width by a strided convolution (key: conv). Padding 0 pads right and bottom only, as the
// autoencoder does.
struct Downsample : Module {
  Downsample(const Weights& w, std::int64_t channels, std::int64_t padding);
  Tensor forward(const Tensor& x) const;

 private:
  std::shared_ptr<Conv2d> conv_;
};

// Nearest-neighbour to twice the size, then a 3x3 convolution (key: conv).
struct Upsample2x : Module {
  Upsample2x(const Weights& w, std::int64_t channels);
  Tensor forward(const Tensor& x) const;

 private:
  struct Conv;
  std::shared_ptr<Conv> conv_;
};

// Nearest-neighbour to the given size, then a convolution (key: conv).
struct Upsample : Module {
  Upsample(const Weights& w, std::int64_t channels);
  Tensor forward(const Tensor& x, std::int64_t height, std::int64_t width) const;

 private:
  std::shared_ptr<Conv2d> conv_;
};

}  // namespace sdgen
