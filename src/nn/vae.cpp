#include "nn/vae.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/sqrt.h>

#include "nn/attention.h"
#include "nn/tiles.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr double kEps = 1e-6;  // of every norm in the autoencoder

std::vector<const GroupNorm*> norms_of(const Module& network) {
  std::vector<const GroupNorm*> norms;
  for (const Module* module : network.modules())
    if (const auto* norm = dynamic_cast<const GroupNorm*>(module)) norms.push_back(norm);
  return norms;
}

// Where a tile belongs in the whole.
Tensor place_of(const TileArea& area, const Tensor& whole) {
  return whole.narrow(2, area.rows.before, area.rows.length).narrow(3, area.columns.before, area.columns.length);
}

ResnetConfig resnet_config(const VaeConfig& c) { return {0, c.norm_groups, kEps, c.act, false, 1.0}; }

}  // namespace

VaeConfig VaeConfig::from(const Config& json) {
  for (const char* key : {"latents_mean", "latents_std"}) json.require(key, nullptr);
  VaeConfig c;
  c.in_channels = json.integer("in_channels", c.in_channels);
  c.out_channels = json.integer("out_channels", c.out_channels);
  for (const char* key : {"in_channels", "out_channels"}) json.require(key, 3);  // pictures are RGB
  c.latent_channels = json.integer("latent_channels", c.latent_channels);
  c.channels = json.integers("block_out_channels");
  if (c.channels.empty()) c.channels = {64};
  if (c.channels.size() > 16) json.unsupported("block_out_channels", "over 16 blocks");
  c.decoder_channels = c.channels;
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
  c.shift_factor = json.number("shift_factor", c.shift_factor);
  c.quant_conv = json.boolean("use_quant_conv", true);
  c.post_quant_conv = json.boolean("use_post_quant_conv", true);
  c.mid_attention = json.boolean("mid_block_add_attention", true);
  c.force_upcast = json.boolean("force_upcast", true);
  return c;
}

VaeConfig VaeConfig::flux2(const Config& json) {
  Json filled = {{"block_out_channels", {128, 256, 512, 512}}, {"layers_per_block", 2}, {"latent_channels", 32}};
  filled.update(json.json());
  VaeConfig c = from(Config(std::move(filled), json.who()));
  json.require("patch_size", Json::array({2, 2}));
  c.patch = 2;
  c.norm_eps = json.positive("batch_norm_eps", c.norm_eps);
  c.scaling_factor = 1;
  c.shift_factor = 0;
  if (!json.has("decoder_block_out_channels")) return c;
  c.decoder_channels = json.integers("decoder_block_out_channels");
  if (c.decoder_channels.size() != c.channels.size())
    json.unsupported("decoder_block_out_channels", concat("expected ", c.channels.size(), ", one for each block"));
  return c;
}

// Resnet, attention, resnet at the coarsest level.
struct Vae::Mid : Module {
  Mid(const Weights& w, const VaeConfig& c, std::int64_t channels) {
    first = add<ResnetBlock>(w, "resnets.0", channels, channels, resnet_config(c));
    if (c.mid_attention)
      attention = add<PixelAttention>(w, "attentions.0", PixelAttention::Params{channels, 1, c.norm_groups, kEps});
    second = add<ResnetBlock>(w, "resnets.1", channels, channels, resnet_config(c));
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
            add<ResnetBlock>(w, concat("down_blocks.", i, ".resnets.", j), in, c.channels[i], resnet_config(c)));
      if (i + 1 < c.channels.size())
        levels.back().second = add<Downsample>(w, concat("down_blocks.", i, ".downsamplers.0"), in, /*padding=*/0);
    }
    mid = add<Mid>(w, "mid_block", c, in);
    norm_out = add<GroupNorm>(w, "conv_norm_out", c.norm_groups, in, kEps);
    conv_out = add<Conv2d>(w, "conv_out", in, 2 * c.latent_channels);
  }
  Tensor forward(const Tensor& x) const {
    Tensor h = conv_in->forward(x);
    for (const auto& [resnets, downsample] : levels) {
      for (const auto& resnet : resnets) h = resnet->forward(h);
      if (downsample) h = downsample->forward(h);
    }
    return finish(h);
  }
  // From the coarsest level on, whose attention sees the whole picture.
  Tensor finish(const Tensor& h) const {
    return conv_out->forward(norm_out->forward(mid->forward(h), {Activation::silu}));  // whatever act_fn says
  }

  // The coarsest level's pixels around a tile that its result needs: each resnet has two convolutions, and halving
  // takes one pixel more at the far side.
  std::int64_t margin() const {
    std::int64_t pixels = 0, size = std::int64_t{1} << (levels.size() - 1);
    for (auto level = levels.rbegin(); level != levels.rend(); ++level)
      pixels = (level == levels.rbegin() ? 0 : 2 * pixels + 1) + 2 * std::int64_t(level->first.size());
    return (pixels + 1 + size - 1) / size;  // 1: conv_in's
  }

  // What goes into finish(), of a tile: `whole` is all of the coarsest level around it.
  Tensor tile(const Tensor& picture, const TileArea& whole, TiledNorms& norms) const {
    std::int64_t size = std::int64_t{1} << (levels.size() - 1);  // pixels of the level, along one of the coarsest's
    const TileArea area = whole.trimmed(margin());
    Tensor h = cut(picture, whole.times(size), area.times(size)).contiguous(at::MemoryFormat::ChannelsLast);
    h = conv_in->forward(h);
    for (const auto& [resnets, downsample] : levels) {
      norms.set_area(area.times(size));
      for (const auto& resnet : resnets) h = resnet->forward(h);
      if (downsample) h = downsample->forward(h);
      size /= 2;
    }
    return cut(h, area, area.trimmed(0));
  }
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::vector<std::pair<std::vector<std::shared_ptr<ResnetBlock>>, std::shared_ptr<Downsample>>> levels;
  std::shared_ptr<Mid> mid;
  std::shared_ptr<GroupNorm> norm_out;
};

struct Vae::Decoder : Module {
  Decoder(const Weights& w, const VaeConfig& c) {
    std::int64_t in = c.decoder_channels.back();
    conv_in = add<Conv2d>(w, "conv_in", c.latent_channels, in);
    mid = add<Mid>(w, "mid_block", c, in);
    const std::size_t n = c.decoder_channels.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t out = c.decoder_channels[n - 1 - i];
      auto& resnets = levels.emplace_back().first;
      for (std::int64_t j = 0; j <= c.resnets; ++j, in = out)
        resnets.push_back(add<ResnetBlock>(w, concat("up_blocks.", i, ".resnets.", j), in, out, resnet_config(c)));
      if (i + 1 < n) levels.back().second = add<Upsample2x>(w, concat("up_blocks.", i, ".upsamplers.0"), out);
    }
    norm_out = add<GroupNorm>(w, "conv_norm_out", c.norm_groups, in, kEps);
    conv_out = add<Conv2d>(w, "conv_out", in, c.out_channels);
  }
  Tensor forward(const Tensor& z) const {
    Tensor h = coarsest(z);
    for (std::size_t i = 1; i < levels.size(); ++i) h = through(i, levels[i - 1].second->forward(h));
    return finish(h);
  }
  // The first level, whose attention sees the whole picture.
  Tensor coarsest(const Tensor& z) const { return through(0, mid->forward(conv_in->forward(z))); }
  Tensor through(std::size_t level, Tensor h) const {
    for (const auto& resnet : levels[level].first) h = resnet->forward(h);
    return h;
  }
  Tensor finish(const Tensor& h) const { return conv_out->forward(norm_out->forward(h, {Activation::silu})); }

  // The pixels around it that a piece of the result needs of a level's input: each resnet has two convolutions.
  std::int64_t margin(std::size_t level) const {
    const std::int64_t own = 2 * std::int64_t(levels[level].first.size());
    return own + (level + 1 < levels.size() ? margin_before_doubling(level + 1) : 1);
  }
  std::int64_t margin_before_doubling(std::size_t level) const { return (margin(level) + 1) / 2 + 1; }

  // The picture's piece that a piece of coarsest()'s result becomes: `whole` is all of it around that piece.
  Tensor tile(const Tensor& h, const TileArea& whole, TiledNorms& norms) const {
    TileArea area = whole.trimmed(levels.size() > 1 ? margin_before_doubling(1) : 1);
    Tensor piece = cut(h, whole, area).contiguous(at::MemoryFormat::ChannelsLast);
    norms.set_area(area);
    for (std::size_t i = 1; i < levels.size(); ++i) {
      const TileArea doubled = area.times(2);
      area = doubled.trimmed(margin(i));
      norms.set_area(area);
      piece = cut(levels[i - 1].second->forward(piece), doubled, area).contiguous(at::MemoryFormat::ChannelsLast);
      piece = through(i, piece);
    }
    return cut(finish(piece), area, area.trimmed(0));
  }
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::vector<std::pair<std::vector<std::shared_ptr<ResnetBlock>>, std::shared_ptr<Upsample2x>>> levels;
  std::shared_ptr<Mid> mid;
  std::shared_ptr<GroupNorm> norm_out;
};

Vae::Vae(const Weights& w, VaeConfig config) : Module(w), config_(std::move(config)), dtype_(w.dtype()) {
  const std::int64_t latent = config_.latent_channels;
  const Conv2d::Params pointwise{1, 1, 0};
  if (w.has("encoder.conv_in.weight")) {
    encoder_ = add<Encoder>(w, "encoder", config_);
    if (config_.quant_conv) quant_ = add<Conv2d>(w, "quant_conv", 2 * latent, 2 * latent, pointwise);
  }
  if (config_.post_quant_conv) post_quant_ = add<Conv2d>(w, "post_quant_conv", latent, latent, pointwise);
  decoder_ = add<Decoder>(w, "decoder", config_);
  if (config_.patch == 1) return;
  const std::int64_t in_square = latent * config_.patch * config_.patch;
  mean_ = param(w, "bn.running_mean", {in_square});
  variance_ = param(w, "bn.running_var", {in_square});
}

// By channels of squares, [C, 1, 1] float32: what they are divided by.
Tensor Vae::deviation(const Tensor& x) const {
  return at::sqrt(fetched(variance_, x).to(at::kFloat).view({-1, 1, 1}) + config_.norm_eps);
}
Tensor Vae::mean(const Tensor& x) const { return fetched(mean_, x).to(at::kFloat).view({-1, 1, 1}); }

Tensor Vae::decode(const Tensor& latents) const { return decoder_->forward(unscaled(latents)).to(at::kFloat); }

// What the decoder takes.
Tensor Vae::unscaled(const Tensor& latents) const {
  take_up_device();
  Tensor z = latents / config_.scaling_factor;
  if (config_.shift_factor != 0) z = z + config_.shift_factor;
  if (config_.patch > 1) z = at::pixel_shuffle(z * deviation(z) + mean(z), config_.patch);
  z = z.to(dtype_).contiguous(at::MemoryFormat::ChannelsLast);
  return post_quant_ ? post_quant_->forward(z) : z;
}

Tensor Vae::decode_in_tiles(const Tensor& latents, std::int64_t tile) const {
  const std::int64_t height = latents.size(2) * config_.patch, width = latents.size(3) * config_.patch,
                     factor = config_.factor();
  if (height <= tile && width <= tile) return decode(latents);
  const Tensor pictures = at::empty({latents.size(0), config_.out_channels, height * factor, width * factor},
                                    latents.options().dtype(at::kFloat));
  const std::vector<const GroupNorm*> norms = norms_of(*decoder_);
  for (std::int64_t i = 0; i < latents.size(0); ++i) {
    const Tensor coarsest = decoder_->coarsest(unscaled(latents.narrow(0, i, 1)));
    in_passes(norms, height, width, tile, [&](const TileArea& area, TiledNorms& tiled) {
      place_of(area.times(factor), pictures.narrow(0, i, 1)).copy_(decoder_->tile(coarsest, area, tiled));
    });
  }
  return pictures;
}

Vae::Posterior Vae::encode(const Tensor& pictures) const {
  const Tensor x = prepared(pictures);
  return posterior(encoder_->forward(x));
}

Vae::Posterior Vae::encode_in_tiles(const Tensor& pictures, std::int64_t tile) const {
  const std::int64_t height = pictures.size(2) / config_.factor(), width = pictures.size(3) / config_.factor();
  if (height <= tile && width <= tile) return encode(pictures);
  std::vector<const GroupNorm*> norms;
  const Tensor whole = prepared(pictures);
  for (const auto& [resnets, downsample] : encoder_->levels)
    for (const auto& resnet : resnets)
      for (const GroupNorm* norm : norms_of(*resnet)) norms.push_back(norm);
  std::vector<Tensor> moments;
  for (const Tensor& picture : whole.split(1)) {
    Tensor coarsest;
    in_passes(norms, height, width, tile, [&](const TileArea& area, TiledNorms& tiled) {
      const Tensor piece = encoder_->tile(picture, area, tiled);
      if (!coarsest.defined())
        coarsest = at::empty({1, piece.size(1), height, width}, piece.options(), at::MemoryFormat::ChannelsLast);
      place_of(area, coarsest).copy_(piece);
    });
    moments.push_back(encoder_->finish(coarsest));
  }
  return posterior(at::cat(moments));
}

// What the encoder takes.
Tensor Vae::prepared(const Tensor& pictures) const {
  if (!encoder_) throw Error(Fault::input, "this autoencoder has no encoder (no tensor 'encoder.conv_in.weight')");
  take_up_device();
  return pictures.to(dtype_).contiguous(at::MemoryFormat::ChannelsLast);
}

Vae::Posterior Vae::posterior(const Tensor& encoded) const {
  const auto halves = (quant_ ? quant_->forward(encoded) : encoded).to(at::kFloat).chunk(2, 1);
  return {halves[0], halves[1].clamp(-30.0, 20.0)};  // the range that diffusers keeps log variances in
}

Tensor Vae::drawn(const Posterior& posterior, const std::function<Tensor()>& noise) const {
  if (config_.patch > 1) {
    const Tensor squares = at::pixel_unshuffle(posterior.mean, config_.patch);
    return (squares - mean(squares)) / deviation(squares);
  }
  Tensor z = noise ? posterior.mean + (0.5 * posterior.log_variance).exp() * noise() : posterior.mean;
  if (config_.shift_factor != 0) z = z - config_.shift_factor;
  return config_.scaling_factor * z;
}

}  // namespace sdgen
