#include "nn/unet.h"

#include <ATen/ops/cat.h>

#include "sdgen/error.h"

namespace sdgen {

UpBlock::UpBlock(const Weights& w, const UNetConfig& config, std::size_t index, bool upsample) {
  const std::vector<UNetConfig::Level>& levels = config.levels;
  const UNetConfig::Level& level = levels[index];
  const std::int64_t last_skip = levels[index ? index - 1 : 0].channels;      // from the level above
  std::int64_t in = levels[std::min(index + 1, levels.size() - 1)].channels;  // from the level below
  for (std::int64_t i = 0; i <= level.resnets; ++i, in = level.channels) {
    const std::int64_t skip = i == level.resnets ? last_skip : level.channels;
    resnets_.push_back(add<ResnetBlock>(w, concat("resnets.", i), in + skip, level.channels, config.resnet));
    if (!level.up_layers.empty()) attentions_.push_back(add_attention(*this, w, i, level.up_layers[i], config, level));
  }
  if (upsample) upsample_ = add<Upsample>(w, "upsamplers.0", level.channels);
}

Tensor UpBlock::layers(std::size_t begin, std::size_t end, Tensor x, const Tensor& time,
                       const Conditioning& conditioning, std::vector<Tensor>& skips) const {
  for (std::size_t i = begin; i < end; ++i) {
    x = resnets_[i]->forward(at::cat({x, skips.back()}, 1), time);
    skips.pop_back();
    if (!attentions_.empty()) x = attentions_[i]->forward(x, conditioning);
  }
  return x;
}

Tensor UpBlock::forward(Tensor x, const Tensor& time, const Conditioning& conditioning,
                        std::vector<Tensor>& skips) const {
  x = layers(0, count(), std::move(x), time, conditioning, skips);
  // To the size of the next skip: twice the size, or one less where the way down rounded up.
  return upsample_ ? upsample_->forward(x, skips.back().size(2), skips.back().size(3)) : x;
}

UNet::UNet(const Weights& w, UNetConfig config) : UNetEncoder(w, std::move(config)) {
  const std::int64_t finest = config_.levels[0].channels;
  const std::size_t n = config_.levels.size();
  for (std::size_t i = 0; i < n; ++i)
    up_.push_back(add<UpBlock>(w, concat("up_blocks.", i), config_, n - 1 - i, i + 1 < n));
  norm_out_ = add<GroupNorm>(w, "conv_norm_out", config_.resnet.norm_groups, finest, config_.resnet.norm_eps);
  conv_out_ = add<Conv2d>(w, "conv_out", finest, config_.out_channels, same_size(config_.conv_out_kernel));
}

Tensor UNet::deep(Features& f, const Conditioning& conditioning, std::size_t layers) const {
  Tensor h = std::move(f.mid);
  for (std::size_t i = 0; i + 1 < up_.size(); ++i) h = up_[i]->forward(h, f.time, conditioning, f.skips);
  return up_.back()->layers(0, finest_layers() - layers, h, f.time, conditioning, f.skips);
}

Tensor UNet::end(const Tensor& deep, Features& f, const Conditioning& conditioning, std::size_t layers) const {
  const Tensor h = up_.back()->layers(finest_layers() - layers, finest_layers(), deep, f.time, conditioning, f.skips);
  return conv_out_->forward(norm_out_->forward(h, config_.out_act));
}

Tensor UNet::decode(Features f, const Conditioning& conditioning) const {
  const Tensor all = deep(f, conditioning, 0);
  return end(all, f, conditioning, 0);
}

Tensor UNet::predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const {
  return decode(encode(x, t, conditioning), conditioning).to(at::kFloat);
}

Tensor UNet::predict_keeping(const Tensor& x, const Tensor& t, const Conditioning& conditioning, std::size_t layers,
                             Tensor& deep) const {
  Features f = encode(x, t, conditioning);
  deep = this->deep(f, conditioning, layers);
  return end(deep, f, conditioning, layers).to(at::kFloat);
}

Tensor UNet::predict_over(const Tensor& deep, const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                          std::size_t layers) const {
  Features f = encode_finest(x, t, conditioning, layers);
  return end(deep, f, conditioning, layers).to(at::kFloat);
}

}  // namespace sdgen
