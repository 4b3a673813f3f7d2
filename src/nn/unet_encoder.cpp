#include "nn/unet_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/sin.h>

#include <cmath>

#include "sdgen/error.h"

namespace sdgen {
namespace {

Tensor plus(const Tensor& x, const Tensor& more) { return more.defined() ? x + more : x; }

}  // namespace

std::shared_ptr<ImageAttention> add_attention(Module& block, const Weights& w, std::int64_t index, std::int64_t layers,
                                              const UNetConfig& c, const UNetConfig::Level& level, bool mid) {
  const std::string name = concat("attentions.", index);
  const std::int64_t channels = level.channels, groups = c.resnet.norm_groups;
  if (level.context_width == 0)
    return block.add<PixelAttention>(w, name,
                                     PixelAttention::Params{channels, level.heads, mid ? c.mid_norm_groups : groups,
                                                            c.resnet.norm_eps, mid ? c.mid_scale : 1.0});
  return block.add<SpatialTransformer>(
      w, name, channels, layers,
      TransformerConfig{level.heads, level.context_width, groups,
                        level.only_cross && !mid});  // diffusers' UNetMidBlock2DCrossAttn never is
}

Conv2d::Params same_size(std::int64_t kernel) { return {kernel, 1, (kernel - 1) / 2}; }

Tensor sinusoidal_embedding(const Tensor& t, std::int64_t width, bool flip_sin_to_cos, double freq_shift) {
  const std::int64_t half = width / 2;
  const auto options = at::TensorOptions().dtype(at::kFloat).device(t.device());
  const Tensor frequency = at::exp(-std::log(10000.0) * at::arange(half, options) / (double(half) - freq_shift));
  const Tensor angle = t.to(at::kFloat).unsqueeze(-1) * frequency;
  const Tensor sine = at::sin(angle), cosine = at::cos(angle);
  const Tensor both = flip_sin_to_cos ? at::cat({cosine, sine}, -1) : at::cat({sine, cosine}, -1);
  return width % 2 ? at::constant_pad_nd(both, {0, 1}) : both;
}

TimestepEmbedding::TimestepEmbedding(const Weights& w, std::int64_t in, std::int64_t out, Activation act,
                                     Activation post_act, std::int64_t condition_width)
    : act_(act),
      post_act_(post_act),
      in_(add<Linear>(w, "linear_1", in, out)),
      out_(add<Linear>(w, "linear_2", out, out)) {
  if (condition_width) condition_ = add<Linear>(w, "cond_proj", condition_width, in, /*with_bias=*/false);
}

Tensor TimestepEmbedding::forward(const Tensor& x, const Tensor& condition) const {
  const Tensor h = out_->forward(act_(in_->forward(condition_ ? x + condition_->forward(condition) : x)));
  return post_act_ ? post_act_(h) : h;
}

DownBlock::DownBlock(const Weights& w, const UNetConfig& config, std::size_t index, bool downsample) {
  const UNetConfig::Level& level = config.levels[index];
  std::int64_t in = config.levels[index ? index - 1 : 0].channels;
  for (std::int64_t i = 0; i < level.resnets; ++i, in = level.channels) {
    resnets_.push_back(add<ResnetBlock>(w, concat("resnets.", i), in, level.channels, config.resnet));
    if (!level.down_layers.empty())
      attentions_.push_back(add_attention(*this, w, i, level.down_layers[i], config, level));
  }
  if (downsample) downsample_ = add<Downsample>(w, "downsamplers.0", level.channels, config.downsample_padding);
}

Tensor DownBlock::layer(std::size_t index, const Tensor& x, const Tensor& time,
                        const Conditioning& conditioning) const {
  const Tensor h = resnets_[index]->forward(x, time);
  return attentions_.empty() ? h : attentions_[index]->forward(h, conditioning);
}

Tensor DownBlock::forward(Tensor x, const Tensor& time, const Conditioning& conditioning, std::vector<Tensor>& skips,
                          const Tensor& more) const {
  for (std::size_t i = 0; i < resnets_.size(); ++i) skips.push_back(x = layer(i, x, time, conditioning));
  if (!attentions_.empty()) skips.back() = x = plus(x, more);
  if (downsample_) skips.push_back(x = downsample_->forward(x));
  if (attentions_.empty()) skips.back() = x = plus(x, more);
  return x;
}

MidBlock::MidBlock(const Weights& w, const UNetConfig& config) {
  const UNetConfig::Level& level = config.levels.back();
  ResnetConfig resnet = config.resnet;
  resnet.output_scale = config.mid_scale;
  for (int i = 0; i < config.mid_resnets; ++i)
    resnets_.push_back(add<ResnetBlock>(w, concat("resnets.", i), level.channels, level.channels, resnet));
  if (config.mid_attention) attention_ = add_attention(*this, w, 0, config.mid_layers, config, level, /*mid=*/true);
}

Tensor MidBlock::forward(const Tensor& x, const Tensor& time, const Conditioning& conditioning) const {
  Tensor h = resnets_[0]->forward(x, time);
  if (attention_) h = attention_->forward(h, conditioning);
  return resnets_.size() > 1 ? resnets_[1]->forward(h, time) : h;
}

UNetEncoder::UNetEncoder(const Weights& w, UNetConfig config)
    : Module(w), config_(std::move(config)), dtype_(w.dtype()) {
  const std::int64_t finest = config_.levels[0].channels, time = config_.resnet.time_width;
  conv_in_ = add<Conv2d>(w, "conv_in", config_.in_channels, finest, same_size(config_.conv_in_kernel));
  time_embedding_ = add<TimestepEmbedding>(w, "time_embedding", finest, time, config_.time_mid_act,
                                           config_.time_post_act, config_.time_cond_width);
  if (config_.size_id_width)
    add_embedding_ = add<TimestepEmbedding>(w, "add_embedding", config_.added_width, time, activation("silu", ""));
  const std::size_t n = config_.levels.size();
  for (std::size_t i = 0; i < n; ++i)
    down_.push_back(add<DownBlock>(w, concat("down_blocks.", i), config_, i, i + 1 < n));
  if (config_.mid_resnets) mid_ = add<MidBlock>(w, "mid_block", config_);
}

Tensor UNetEncoder::embed_time(const Tensor& t, const Conditioning& conditioning) const {
  const auto sines = [this](const Tensor& numbers, std::int64_t width) {
    return sinusoidal_embedding(numbers, width, config_.flip_sin_to_cos, config_.freq_shift).to(dtype_);
  };
  Tensor guidance;
  if (config_.time_cond_width && conditioning.guidance.defined()) {
    // The distilled scale as LCM embeds it (Luo et al., 2023, section 4.1): sines of 1000 (scale - 1).
    const Tensor distilled = (1000 * (conditioning.guidance - 1)).to(at::kFloat);
    guidance = sinusoidal_embedding(distilled, config_.time_cond_width, false, 1).to(dtype_);
  }
  Tensor time = time_embedding_->forward(sines(t, config_.levels[0].channels), guidance);
  if (add_embedding_) {
    const Tensor sizes = sines(conditioning.size_ids.flatten(), config_.size_id_width).reshape({t.size(0), -1});
    time = time + add_embedding_->forward(at::cat({conditioning.pooled, sizes}, -1));
  }
  // Every resnet begins with the same activation of the time embedding: once is enough.
  return config_.resnet.act(config_.time_act ? config_.time_act(time) : time);
}

UNetEncoder::Features UNetEncoder::begin(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                                         const Tensor& added) const {
  take_up_device();
  Features f;
  f.time = embed_time(t, conditioning);
  const Tensor h = x.to(dtype_).contiguous(at::MemoryFormat::ChannelsLast);  // what the kernels like
  f.skips.push_back(plus(conv_in_->forward(config_.center_input ? 2 * h - 1 : h), added));
  return f;
}

UNetEncoder::Features UNetEncoder::encode(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                                          const Additions& additions) const {
  const auto more = [&additions](std::size_t i) {
    return i < additions.levels.size() ? additions.levels[i] : Tensor();
  };
  Features f = begin(x, t, conditioning, additions.input);
  Tensor h = f.skips.back();
  for (std::size_t i = 0; i < down_.size(); ++i) h = down_[i]->forward(h, f.time, conditioning, f.skips, more(i));
  f.mid = plus(mid_ ? mid_->forward(h, f.time, conditioning) : h, more(down_.size()));
  return f;
}

UNetEncoder::Features UNetEncoder::encode_finest(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                                                 std::size_t skips) const {
  Features f = begin(x, t, conditioning, {});
  while (f.skips.size() < skips)
    f.skips.push_back(down_[0]->layer(f.skips.size() - 1, f.skips.back(), f.time, conditioning));
  return f;
}

}  // namespace sdgen
