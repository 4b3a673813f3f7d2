#include "nn/controlnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/logspace.h>

#include <algorithm>

#include "sdgen/error.h"

namespace sdgen {

ControlNetConfig ControlNetConfig::from(const Config& json) {
  json.require("_class_name", "ControlNetModel");
  json.require("conditioning_channels", 3);
  ControlNetConfig c;
  // The rest is a U-Net's config without the way up, whose blocks do not matter.
  Json encoder = json.json();
  encoder["_class_name"] = "UNet2DConditionModel";
  std::vector<std::string> up = json.strings("down_block_types");
  std::ranges::reverse(up);
  for (std::string& type : up) type = type == "CrossAttnDownBlock2D" ? "CrossAttnUpBlock2D" : "UpBlock2D";
  encoder.erase("up_block_types");
  if (!up.empty()) encoder["up_block_types"] = up;
  c.encoder = UNetConfig::from(Config(std::move(encoder), json.who()));
  if (c.encoder.mid_resnets == 0) json.unsupported("mid_block_type", "a ControlNet has a middle block");

  if (json.has("conditioning_embedding_out_channels"))
    c.picture_channels = json.integers("conditioning_embedding_out_channels");
  if (c.picture_channels.empty() || c.picture_channels.size() > 16)
    json.unsupported("conditioning_embedding_out_channels", "expected 1 to 16 numbers");
  for (const std::int64_t n : c.picture_channels)
    if (n < 1 || n > 65536) json.unsupported("conditioning_embedding_out_channels", "expected 1 to 65536 channels");
  const std::string order = json.string("controlnet_conditioning_channel_order", "rgb");
  if (order != "rgb" && order != "bgr") json.unsupported("controlnet_conditioning_channel_order", "rgb or bgr");
  c.bgr = order == "bgr";
  c.global_pool = json.boolean("global_pool_conditions", false);
  return c;
}

PictureEmbedding::PictureEmbedding(const Weights& w, const std::vector<std::int64_t>& channels, std::int64_t out)
    : conv_in_(add<Conv2d>(w, "conv_in", 3, channels.front())),
      conv_out_(add<Conv2d>(w, "conv_out", channels.back(), out)) {
  for (std::size_t i = 0; i + 1 < channels.size(); ++i) {
    blocks_.push_back(add<Conv2d>(w, concat("blocks.", 2 * i), channels[i], channels[i]));
    blocks_.push_back(
        add<Conv2d>(w, concat("blocks.", 2 * i + 1), channels[i], channels[i + 1], Conv2d::Params{3, 2, 1}));
  }
}

Tensor PictureEmbedding::forward(const Tensor& picture) const {
  Tensor h = kSilu(conv_in_->forward(picture));
  for (const auto& block : blocks_) h = kSilu(block->forward(h));
  return conv_out_->forward(h);
}

ControlNet::ControlNet(const Weights& w, ControlNetConfig config)
    : UNetEncoder(w, config.encoder), control_(std::move(config)) {
  const std::vector<UNetConfig::Level>& levels = config_.levels;
  picture_ = add<PictureEmbedding>(w, "controlnet_cond_embedding", control_.picture_channels, levels[0].channels);
  const auto zero = [&](const std::string& name, std::int64_t channels) {
    return add<Conv2d>(w, name, channels, channels, Conv2d::Params{1, 1, 0});
  };
  const auto add_skip = [&](std::int64_t channels) {
    zero_.push_back(zero(concat("controlnet_down_blocks.", zero_.size()), channels));
  };
  add_skip(levels[0].channels);  // of the first convolution
  for (std::size_t i = 0; i < levels.size(); ++i)
    for (std::int64_t n = levels[i].resnets + (i + 1 < levels.size()); n > 0; --n) add_skip(levels[i].channels);
  zero_mid_ = zero("controlnet_mid_block", levels.back().channels);
}

Tensor ControlNet::embed(const Tensor& picture) const {
  take_up_device();
  return picture_->forward((control_.bgr ? picture.flip({1}) : picture).to(dtype_));
}

ControlNet::Residuals ControlNet::forward(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                                          const Tensor& embedded, double scale, bool rising) const {
  const Features f = encode(x.narrow(1, 0, config_.in_channels), t, conditioning, {.input = embedded, .levels = {}});
  const std::int64_t n = std::int64_t(zero_.size());
  const Tensor scales = at::logspace(-1, 0, n + 1) * scale;  // on the CPU: scalars for whatever device
  const auto residual = [&](const Conv2d& zero, const Tensor& feature, std::int64_t i) {
    Tensor r = zero.forward(feature);
    r = rising && !control_.global_pool ? r * scales[i] : r * scale;
    return control_.global_pool ? r.mean({2, 3}, /*keepdim=*/true) : r;
  };
  Residuals result;
  for (std::int64_t i = 0; i < n; ++i) result.skips.push_back(residual(*zero_[i], f.skips[i], i));
  result.mid = residual(*zero_mid_, f.mid, n);
  return result;
}

}  // namespace sdgen
