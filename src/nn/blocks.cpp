#include "nn/blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace sdgen {

ResnetBlock::ResnetBlock(const Weights& w, std::int64_t in, std::int64_t out, const ResnetShape& shape)
    : shape_(shape),
      norm1_(add<GroupNorm>(w, "norm1", shape.norm_groups, in, shape.norm_eps)),
      norm2_(add<GroupNorm>(w, "norm2", shape.norm_groups, out, shape.norm_eps)),
      conv1_(add<Conv2d>(w, "conv1", in, out)),
      conv2_(add<Conv2d>(w, "conv2", out, out)) {
  if (in != out) shortcut_ = add<Conv2d>(w, "conv_shortcut", in, out, Conv2d::Shape{1, 1, 0});
  if (shape.time_width) time_ = add<Linear>(w, "time_emb_proj", shape.time_width, shape.scale_shift ? 2 * out : out);
}

Tensor ResnetBlock::forward(const Tensor& x, const Tensor& activated_time) const {
  Tensor h = conv1_->forward(norm1_->forward(x, shape_.act));
  const Tensor time = time_ ? time_->forward(activated_time) : Tensor();  // [B, out or 2*out]
  if (shape_.scale_shift && time_) {
    const auto halves = time.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
    h = shape_.act(norm2_->forward(h) * (1 + halves[0]) + halves[1]);
  } else {
    h = norm2_->forward(h, shape_.act, time);
  }
  h = conv2_->forward(h, shortcut_ ? shortcut_->forward(x) : x);
  return shape_.output_scale == 1.0 ? h : h / shape_.output_scale;
}

Downsample::Downsample(const Weights& w, std::int64_t channels, std::int64_t padding)
    : conv_(add<Conv2d>(w, "conv", channels, channels, Conv2d::Shape{3, 2, padding})) {}

Tensor Downsample::forward(const Tensor& x) const {
  return conv_->forward(conv_->shape.padding ? x : at::constant_pad_nd(x, {0, 1, 0, 1}));
}

struct Doubling::Conv : Module {
  Conv(const Weights& w, std::int64_t channels)
      : weight(packed_param(w, "weight", {channels, channels, 3, 3}, ops::packed_doubling_conv2d)),
        bias(param(w, "bias", {channels})) {}
  Tensor weight, bias;
};

Doubling::Doubling(const Weights& w, std::int64_t channels) : conv_(add<Conv>(w, "conv", channels)) {}

Tensor Doubling::forward(const Tensor& x) const {
  return ops::doubling_conv2d(x, fetched(conv_->weight, x), fetched(conv_->bias, x));
}

Upsample::Upsample(const Weights& w, std::int64_t channels) : conv_(add<Conv2d>(w, "conv", channels, channels)) {}

Tensor Upsample::forward(const Tensor& x, std::int64_t height, std::int64_t width) const {
  return conv_->forward(at::upsample_nearest2d(x, {height, width}));
}

}  // namespace sdgen
