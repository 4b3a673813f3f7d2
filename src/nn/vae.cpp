#include "nn/vae.h"

#include "nn/attention.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr double kEps = 1e-6;  // of every norm in the autoencoder

ResnetShape resnet_shape(const VaeConfig& c) { return {0, c.norm_groups, kEps, c.act, false, 1.0}; }

}  // namespace

VaeConfig VaeConfig::from(const Config& json) {
  for (const char* key : {"latents_mean", "latents_std", "shift_factor"}) json.require(key, nullptr);
  VaeConfig c;
  c.in_channels = json.integer("in_channels", c.in_channels);
  c.out_channels = json.integer("out_channels", c.out_channels);
  for (const char* key : {"in_channels", "out_channels"}) json.require(key, 3);  // pictures are RGB
  c.latent_channels = json.integer("latent_channels", c.latent_channels);
  c.channels = json.integers("block_out_channels");
  if (c.channels.empty()) c.channels = {64};
  if (c.channels.size() > 16) json.unsupported("block_out_channels", "over 16 blocks");
  for (const auto& [key, only] :
       {std::pair{"down_block_types", "DownEncoderBlock2D"}, {"up_block_types", "UpDecoderBlock2D"}}) {
    const auto types = json.strings(key);
    if (!types.empty() && types.size() != c.channels.size())
      json.unsupported(key, concat(types.size(), " blocks for ", c.channels.size(), " block_out_channels"));
    for (const std::string& type : types)
      if (type != only) json.unsupported(key, concat("only ", only, " is known"));
  }
  c.resnets = json.integer("layers_per_block", c.resnets);
  if (c.resnets <= 0 || c.resnets > 100) json.unsupported("layers_per_block", "expected 1 to 100");
  c.norm_groups = json.integer("norm_num_groups", c.norm_groups);
  c.act = activation(json.string("act_fn", "silu"), json.who() + ": act_fn");
  c.scaling_factor = json.number("scaling_factor", c.scaling_factor);
  if (!(c.scaling_factor > 0)) json.unsupported("scaling_factor", "must be positive");
  c.quant_conv = json.boolean("use_quant_conv", true);
  c.post_quant_conv = json.boolean("use_post_quant_conv", true);
  c.mid_attention = json.boolean("mid_block_add_attention", true);
  c.force_upcast = json.boolean("force_upcast", true);
  return c;
}

// Resnet, attention, resnet at the coarsest level.
struct Vae::Mid : Module {
  Mid(const Weights& w, const VaeConfig& c) {
    const std::int64_t channels = c.channels.back();
    first = add<ResnetBlock>(w, "resnets.0", channels, channels, resnet_shape(c));
    if (c.mid_attention)
      attention = add<PixelAttention>(w, "attentions.0", PixelAttention::Shape{channels, 1, c.norm_groups, kEps});
    second = add<ResnetBlock>(w, "resnets.1", channels, channels, resnet_shape(c));
  }
  Tensor forward(const Tensor& x) const {
    const Tensor h = first->forward(x);
    return second->forward(attention ? attention->forward(h, {}) : h);
  }
  std::shared_ptr<ResnetBlock> first, second;
  std::shared_ptr<PixelAttention> attention;
};

struct Vae::Encoder : Module {
  Encoder(const Weights& w, const VaeConfig& c) {
    conv_in = add<Conv2d>(w, "conv_in", c.in_channels, c.channels[0]);
    std::int64_t in = c.channels[0];
    for (std::size_t i = 0; i < c.channels.size(); ++i) {
      auto& resnets = levels.emplace_back().first;
      for (std::int64_t j = 0; j < c.resnets; ++j, in = c.channels[i])
        resnets.push_back(
            add<ResnetBlock>(w, concat("down_blocks.", i, ".resnets.", j), in, c.channels[i], resnet_shape(c)));
      if (i + 1 < c.channels.size())
        levels.back().second = add<Downsample>(w, concat("down_blocks.", i, ".downsamplers.0"), in, /*padding=*/0);
    }
    mid = add<Mid>(w, "mid_block", c);
    norm_out = add<GroupNorm>(w, "conv_norm_out", c.norm_groups, in, kEps);
    conv_out = add<Conv2d>(w, "conv_out", in, 2 * c.latent_channels);
  }
  Tensor forward(const Tensor& x) const {
    Tensor h = conv_in->forward(x);
    for (const auto& [resnets, downsample] : levels) {
      for (const auto& resnet : resnets) h = resnet->forward(h);
      if (downsample) h = downsample->forward(h);
    }
    return conv_out->forward(norm_out->forward(mid->forward(h), {Activation::silu}));  // whatever act_fn says
  }
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::vector<std::pair<std::vector<std::shared_ptr<ResnetBlock>>, std::shared_ptr<Downsample>>> levels;
  std::shared_ptr<Mid> mid;
  std::shared_ptr<GroupNorm> norm_out;
};

struct Vae::Decoder : Module {
  Decoder(const Weights& w, const VaeConfig& c) {
    std::int64_t in = c.channels.back();
    conv_in = add<Conv2d>(w, "conv_in", c.latent_channels, in);
    mid = add<Mid>(w, "mid_block", c);
    const std::size_t n = c.channels.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t out = c.channels[n - 1 - i];
      auto& resnets = levels.emplace_back().first;
      for (std::int64_t j = 0; j <= c.resnets; ++j, in = out)
        resnets.push_back(add<ResnetBlock>(w, concat("up_blocks.", i, ".resnets.", j), in, out, resnet_shape(c)));
      if (i + 1 < n) levels.back().second = add<Doubling>(w, concat("up_blocks.", i, ".upsamplers.0"), out);
    }
    norm_out = add<GroupNorm>(w, "conv_norm_out", c.norm_groups, in, kEps);
    conv_out = add<Conv2d>(w, "conv_out", in, c.out_channels);
  }
  Tensor forward(const Tensor& z) const {
    Tensor h = mid->forward(conv_in->forward(z));
    for (const auto& [resnets, upsample] : levels) {
      for (const auto& resnet : resnets) h = resnet->forward(h);
      if (upsample) h = upsample->forward(h);
    }
    return conv_out->forward(norm_out->forward(h, {Activation::silu}));
  }
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::vector<std::pair<std::vector<std::shared_ptr<ResnetBlock>>, std::shared_ptr<Doubling>>> levels;
  std::shared_ptr<Mid> mid;
  std::shared_ptr<GroupNorm> norm_out;
};

Vae::Vae(const Weights& w, VaeConfig config) : config_(std::move(config)), dtype_(w.dtype()) {
  const std::int64_t latent = config_.latent_channels;
  const Conv2d::Shape pointwise{1, 1, 0};
  if (w.has("encoder.conv_in.weight")) {
    encoder_ = add<Encoder>(w, "encoder", config_);
    if (config_.quant_conv) quant_ = add<Conv2d>(w, "quant_conv", 2 * latent, 2 * latent, pointwise);
  }
  if (config_.post_quant_conv) post_quant_ = add<Conv2d>(w, "post_quant_conv", latent, latent, pointwise);
  decoder_ = add<Decoder>(w, "decoder", config_);
}

Tensor Vae::decode(const Tensor& latents) const {
  const Tensor z = (latents / config_.scaling_factor).to(dtype_).contiguous(at::MemoryFormat::ChannelsLast);
  return decoder_->forward(post_quant_ ? post_quant_->forward(z) : z).to(at::kFloat);
}

Vae::Posterior Vae::encode(const Tensor& pictures) const {
  if (!encoder_) throw Error(Fault::input, "this autoencoder has no encoder (no tensor 'encoder.conv_in.weight')");
  Tensor moments = encoder_->forward(pictures.to(dtype_).contiguous(at::MemoryFormat::ChannelsLast));
  if (quant_) moments = quant_->forward(moments);
  const auto halves = moments.to(at::kFloat).chunk(2, 1);
  return {halves[0], halves[1].clamp(-30.0, 20.0)};  // the range that diffusers keeps log variances in
}

Tensor Vae::encode(const Tensor& pictures, const std::function<Tensor()>& noise) const {
  const Posterior posterior = encode(pictures);
  if (!noise) return config_.scaling_factor * posterior.mean;
  return config_.scaling_factor * (posterior.mean + (0.5 * posterior.log_variance).exp() * noise());
}

}  // namespace sdgen
