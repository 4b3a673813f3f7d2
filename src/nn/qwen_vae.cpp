#include "nn/qwen_vae.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "nn/config_size.h"
#include "nn/layers.h"
#include "nn/tiles.h"
#include "sdgen/error.h"

namespace sdgen {

QwenVaeConfig QwenVaeConfig::from(const Config& json) {
  QwenVaeConfig c;
  const std::int64_t base = config_size(json, "base_dim", 96, 100'000);
  c.latent_channels = config_size(json, "z_dim", c.latent_channels, 10'000);
  c.resnets = config_size(json, "num_res_blocks", c.resnets, 100);
  json.require("input_channels", 3);
  if (json.has("attn_scales") && json.json().at("attn_scales") != Json::array())
    json.unsupported("attn_scales", "an empty list is");
  if (json.has("dim_mult")) {
    c.channels.clear();
    for (const std::int64_t times : json.integers("dim_mult")) {
      if (times < 1 || times > 1000) json.unsupported("dim_mult", "expected numbers from 1 to 1000");
      c.channels.push_back(base * times);
    }
    if (c.channels.empty() || c.channels.size() > 16) json.unsupported("dim_mult", "expected 1 to 16 levels");
  } else {
    c.channels = {base, 2 * base, 4 * base, 4 * base};
  }
  // Between levels the decoder halves the channels.
  for (const std::int64_t channels : c.channels)
    if (channels % 2 != 0) json.unsupported("base_dim", "expected levels of an even number of channels");
  if (json.has("temperal_downsample") && (!json.json().at("temperal_downsample").is_array() ||
                                          json.json().at("temperal_downsample").size() + 1 != c.channels.size()))
    json.unsupported("temperal_downsample", concat("expected one of each of the ", c.channels.size() - 1,
                                                   " times that the levels of dim_mult halve a picture"));
  c.means = json.numbers("latents_mean");
  c.deviations = json.numbers("latents_std");
  for (const auto& [key, list] : {std::pair{"latents_mean", &c.means}, {"latents_std", &c.deviations}})
    if (std::int64_t(list->size()) != c.latent_channels)
      json.unsupported(key, concat("expected a number for each of the ", c.latent_channels, " channels of z_dim"));
  if (!std::ranges::all_of(c.deviations, [](double d) { return d > 0; }))
    json.unsupported("latents_std", "expected numbers above 0");
  return c;
}

// A convolution in space and time, of the last moment alone: [out, in, times, k, k].
struct QwenVae::Conv : Module {
  Conv(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t times)
      : padding(kernel / 2) {
    const Tensor whole = w.get("weight", {out, in, times, kernel, kernel}, Weights::Use::passing);
    const Tensor last = whole.select(2, times - 1).contiguous();
    weight = keep("weight", w.kept(w.packs() ? ops::packed_conv2d(last, 1, padding) : last));
    bias = param(w, "bias", {out});
  }
  Tensor forward(const Tensor& x, const Tensor& plus = {}) const {
    return ops::conv2d(x, fetched(weight, x), fetched(bias, x), 1, padding, plus);
  }
  std::int64_t padding;
  Tensor weight, bias;
};

// Of every pixel: x / |x| times the root of the number of channels, times a weight of each.
struct QwenVae::Norm : Module {
  // `ones`: of the weight's shape, behind its channels.
  Norm(const Weights& w, std::int64_t channels, std::size_t ones) {
    std::vector<std::int64_t> shape(1 + ones, 1);
    shape[0] = channels;
    weight = keep("gamma", w.kept(w.get("gamma", shape).reshape({channels})));
  }
  Tensor forward(const Tensor& x) const {
    constexpr double eps = 1e-24;  // the square of the length that diffusers divides by at least
    const Tensor pixels = x.permute({0, 2, 3, 1}).contiguous();
    return ops::rms_norm(pixels, fetched(weight, x), eps).permute({0, 3, 1, 2});
  }
  Tensor weight;
};

struct QwenVae::Resnet : Module {
  Resnet(const Weights& w, std::int64_t in, std::int64_t out)
      : norm1(add<Norm>(w, "norm1", in, 3)),
        norm2(add<Norm>(w, "norm2", out, 3)),
        conv1(add<Conv>(w, "conv1", in, out, 3, 3)),
        conv2(add<Conv>(w, "conv2", out, out, 3, 3)) {
    if (in != out) shortcut = add<Conv>(w, "conv_shortcut", in, out, 1, 1);
  }
  Tensor forward(const Tensor& x) const {
    const Activation act{Activation::silu};
    const Tensor h = conv1->forward(act(norm1->forward(x)));
    return conv2->forward(act(norm2->forward(h)), shortcut ? shortcut->forward(x) : x);
  }
  std::shared_ptr<Norm> norm1, norm2;
  std::shared_ptr<Conv> conv1, conv2, shortcut;
};

struct QwenVae::Attention : Module {
  Attention(const Weights& w, std::int64_t channels)
      : norm(add<Norm>(w, "norm", channels, 2)),
        to_qkv(add<Linear>(w, "to_qkv", channels, 3 * channels)),
        proj(add<Linear>(w, "proj", channels, channels)) {}
  Tensor forward(const Tensor& x) const {
    const auto pixels = [](const Tensor& y) { return y.permute({0, 2, 3, 1}).flatten(1, 2); };
    const auto qkv = to_qkv->forward(pixels(norm->forward(x))).chunk(3, -1);
    const Tensor seen = proj->forward(ops::attention(qkv[0], qkv[1], qkv[2], 1), pixels(x).contiguous());
    return seen.unflatten(1, {x.size(2), x.size(3)}).permute({0, 3, 1, 2});
  }
  std::shared_ptr<Norm> norm;
  std::shared_ptr<Linear> to_qkv, proj;
};

struct QwenVae::Mid : Module {
  Mid(const Weights& w, std::int64_t channels)
      : first(add<Resnet>(w, "resnets.0", channels, channels)),
        second(add<Resnet>(w, "resnets.1", channels, channels)),
        attention(add<Attention>(w, "attentions.0", channels)) {}
  Tensor forward(const Tensor& x) const { return second->forward(attention->forward(first->forward(x))); }
  std::shared_ptr<Resnet> first, second;
  std::shared_ptr<Attention> attention;
};

struct QwenVae::Encoder : Module {
  Encoder(const Weights& w, const QwenVaeConfig& c) {
    conv_in = add<Conv>(w, "conv_in", 3, c.channels[0], 3, 3);
    std::int64_t in = c.channels[0], number = 0;  // of the layers, through all levels
    for (std::size_t i = 0; i < c.channels.size(); ++i) {
      auto& level = levels.emplace_back();
      for (std::int64_t j = 0; j < c.resnets; ++j, in = c.channels[i])
        level.first.push_back(add<Resnet>(w, concat("down_blocks.", number++), in, c.channels[i]));
      if (i + 1 < c.channels.size())
        level.second = add<Conv2d>(w, concat("down_blocks.", number++, ".resample.1"), in, in, Conv2d::Params{3, 2, 0});
    }
    mid = add<Mid>(w, "mid_block", in);
    norm_out = add<Norm>(w, "norm_out", in, 3);
    conv_out = add<Conv>(w, "conv_out", in, 2 * c.latent_channels, 3, 3);
  }
  Tensor forward(const Tensor& x) const {
    Tensor h = conv_in->forward(x);
    for (const auto& [resnets, halving] : levels) {
      for (const auto& resnet : resnets) h = resnet->forward(h);
      if (halving) h = halving->forward(at::constant_pad_nd(h, {0, 1, 0, 1}));
    }
    return conv_out->forward(kSilu(norm_out->forward(mid->forward(h))));
  }
  std::vector<std::pair<std::vector<std::shared_ptr<Resnet>>, std::shared_ptr<Conv2d>>> levels;
  std::shared_ptr<Conv> conv_in, conv_out;
  std::shared_ptr<Mid> mid;
  std::shared_ptr<Norm> norm_out;
};

struct QwenVae::Decoder : Module {
  // Nearest-neighbour to twice the size, then a convolution to half the channels.
  struct Doubling : Module {
    Doubling(const Weights& w, std::int64_t channels)
        : weight(packed_param(w, "weight", {channels / 2, channels, 3, 3}, ops::packed_doubling_conv2d)),
          bias(param(w, "bias", {channels / 2})) {}
    Tensor forward(const Tensor& x) const { return ops::doubling_conv2d(x, fetched(weight, x), fetched(bias, x)); }
    Tensor weight, bias;
  };

  Decoder(const Weights& w, const QwenVaeConfig& c) {
    std::int64_t in = c.channels.back();
    conv_in = add<Conv>(w, "conv_in", c.latent_channels, in, 3, 3);
    mid = add<Mid>(w, "mid_block", in);
    const std::size_t n = c.channels.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::int64_t out = c.channels[n - 1 - i];
      auto& level = levels.emplace_back();
      for (std::int64_t j = 0; j <= c.resnets; ++j, in = out)
        level.first.push_back(add<Resnet>(w, concat("up_blocks.", i, ".resnets.", j), in, out));
      if (i + 1 == n) break;
      level.second = add<Doubling>(w, concat("up_blocks.", i, ".upsamplers.0.resample.1"), out);
      in = out / 2;
    }
    norm_out = add<Norm>(w, "norm_out", in, 3);
    conv_out = add<Conv>(w, "conv_out", in, 3, 3, 3);
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
  Tensor finish(const Tensor& h) const { return conv_out->forward(kSilu(norm_out->forward(h))); }

  // The pixels around it that a piece of the result needs of a level's input: each resnet has two convolutions.
  std::int64_t margin(std::size_t level) const {
    const std::int64_t own = 2 * std::int64_t(levels[level].first.size());
    return own + (level + 1 < levels.size() ? margin_before_doubling(level + 1) : 1);
  }
  std::int64_t margin_before_doubling(std::size_t level) const { return (margin(level) + 1) / 2 + 1; }
  // The picture's piece that a piece of coarsest()'s result becomes: `whole` is all of it around that piece.
  Tensor tile(const Tensor& h, const TileArea& whole) const {
    TileArea area = whole.trimmed(levels.size() > 1 ? margin_before_doubling(1) : 1);
    Tensor piece = cut(h, whole, area).contiguous(at::MemoryFormat::ChannelsLast);
    for (std::size_t i = 1; i < levels.size(); ++i) {
      const TileArea doubled = area.times(2);
      area = doubled.trimmed(margin(i));
      piece = cut(levels[i - 1].second->forward(piece), doubled, area).contiguous(at::MemoryFormat::ChannelsLast);
      piece = through(i, piece);
    }
    return cut(finish(piece), area, area.trimmed(0));
  }

  std::vector<std::pair<std::vector<std::shared_ptr<Resnet>>, std::shared_ptr<Doubling>>> levels;
  std::shared_ptr<Conv> conv_in, conv_out;
  std::shared_ptr<Mid> mid;
  std::shared_ptr<Norm> norm_out;
};

QwenVae::QwenVae(const Weights& w, QwenVaeConfig config) : Module(w), config_(std::move(config)), dtype_(w.dtype()) {
  const std::int64_t latent = config_.latent_channels;
  if (w.has("encoder.conv_in.weight")) {
    encoder_ = add<Encoder>(w, "encoder", config_);
    quant_ = add<Conv>(w, "quant_conv", 2 * latent, 2 * latent, 1, 1);
  }
  post_quant_ = add<Conv>(w, "post_quant_conv", latent, latent, 1, 1);
  decoder_ = add<Decoder>(w, "decoder", config_);
}

Tensor QwenVae::of_channels(const std::vector<double>& numbers, const Tensor& like) const {
  return at::tensor(numbers).to(like.options()).view({1, -1, 1, 1});
}

Tensor QwenVae::unscaled(const Tensor& latents) const {
  take_up_device();
  const Tensor z = latents * of_channels(config_.deviations, latents) + of_channels(config_.means, latents);
  return post_quant_->forward(z.to(dtype_).contiguous(at::MemoryFormat::ChannelsLast));
}

Tensor QwenVae::decode(const Tensor& latents) const {
  return decoder_->forward(unscaled(latents)).to(at::kFloat).clamp(-1, 1);
}

Tensor QwenVae::decode_in_tiles(const Tensor& latents, std::int64_t tile) const {
  const std::int64_t height = latents.size(2), width = latents.size(3), factor = config_.factor();
  if (height <= tile && width <= tile) return decode(latents);
  const Tensor pictures =
      at::empty({latents.size(0), 3, height * factor, width * factor}, latents.options().dtype(at::kFloat));
  for (std::int64_t i = 0; i < latents.size(0); ++i) {
    const Tensor coarsest = decoder_->coarsest(unscaled(latents.narrow(0, i, 1)));
    // Its norms are of a pixel each: one pass is enough.
    for (std::int64_t y = 0; y < height; y += tile)
      for (std::int64_t x = 0; x < width; x += tile) {
        const std::int64_t rows = std::min(tile, height - y), columns = std::min(tile, width - x);
        const Tensor piece =
            decoder_->tile(coarsest, {{y, rows, height - y - rows}, {x, columns, width - x - columns}});
        pictures.narrow(0, i, 1)
            .narrow(2, y * factor, rows * factor)
            .narrow(3, x * factor, columns * factor)
            .copy_(piece.to(at::kFloat).clamp(-1, 1));
      }
  }
  return pictures;
}

Tensor QwenVae::encode(const Tensor& pictures, const std::function<Tensor()>& noise) const {
  if (!encoder_) throw Error(Fault::input, "this autoencoder has no encoder (no tensor 'encoder.conv_in.weight')");
  take_up_device();
  const Tensor encoded = encoder_->forward(pictures.to(dtype_).contiguous(at::MemoryFormat::ChannelsLast));
  const auto halves = quant_->forward(encoded).to(at::kFloat).chunk(2, 1);
  // The range that diffusers keeps log variances in.
  const Tensor z = noise ? halves[0] + (0.5 * halves[1].clamp(-30.0, 20.0)).exp() * noise() : halves[0];
  return (z - of_channels(config_.means, z)) / of_channels(config_.deviations, z);
}

}  // namespace sdgen
