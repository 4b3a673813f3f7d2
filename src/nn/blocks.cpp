#include "nn/blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace sdgen {

ResnetBlock::ResnetBlock(const Weights& w, std::int64_t in, std::int64_t out, const ResnetConfig& config)
    : config_(config),
      norm1_(add<GroupNorm>(w, "norm1", config.norm_groups, in, config.norm_eps)),
      norm2_(add<GroupNorm>(w, "norm2", config.norm_groups, out, config.norm_eps)),
      conv1_(add<Conv2d>(w, "conv1", in, out)),
      conv2_(add<Conv2d>(w, "conv2", out, out)) {
  if (in != out) shortcut_ = add<Conv2d>(w, "conv_shortcut", in, out, Conv2d::Params{1, 1, 0});
  if (config.time_width) time_ = add<Linear>(w, "time_emb_proj", config.time_width, config.scale_shift ? 2 * out : out);
}

Tensor ResnetBlock::forward(const Tensor& x, const Tensor& activated_time) const {
  Tensor h = conv1_->forward(norm1_->forward(x, config_.act));
  const Tensor time = time_ ? time_->forward(activated_time) : Tensor();  // [B, out or 2*out]
  if (config_.scale_shift && time_) {
    const auto halves = time.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
    h = config_.act(norm2_->forward(h) * (1 + halves[0]) + halves[1]);
  } else {
    h = norm2_->forward(h, config_.act, time);
  }
  h = conv2_->forward(h, shortcut_ ? shortcut_->forward(x) : x);
  return config_.output_scale == 1.0 ? h : h / config_.output_scale;
}

Downsample::Downsample(const Weights& w, std::int64_t channels, std::int64_t padding)
    : conv_(add<Conv2d>(w, "conv", channels, channels, Conv2d::Params{3, 2, padding})) {}

Tensor Downsample::forward(const Tensor& x) const {
  return conv_->forward(conv_->params.padding ? x : at::constant_pad_nd(x, {0, 1, 0, 1}));
}

struct Upsample2x::Conv : Module {
  Conv(const Weights& w, std::int64_t channels)
      : weight(packed_param(w, "weight", {channels, channels, 3, 3}, ops::packed_doubling_conv2d)),
        bias(param(w, "bias", {channels})) {}
  Tensor weight, bias;
};

Upsample2x::Upsample2x(const Weights& w, std::int64_t channels) : conv_(add<Conv>(w, "conv", channels)) {}

Tensor Upsample2x::forward(const Tensor& x) const {
  return ops::doubling_conv2d(x, fetched(conv_->weight, x), fetched(conv_->bias, x));
}

Upsample::Upsample(const Weights& w, std::int64_t channels) : conv_(add<Conv2d>(w, "conv", channels, channels)) {}

Tensor Upsample::forward(const Tensor& x, std::int64_t height, std::int64_t width) const {
  return conv_->forward(at::upsample_nearest2d(x, {height, width}));
}

}  // namespace sdgen
