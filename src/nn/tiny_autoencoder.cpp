#include "nn/tiny_autoencoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// The blocks a level that a config says, or the class's default.
std::vector<std::int64_t> blocks_of(const Config& json, const char* key, const std::vector<std::int64_t>& fallback) {
  const std::vector<std::int64_t> stated = json.integers(key);
  const std::vector<std::int64_t>& blocks = stated.empty() ? fallback : stated;
  if (blocks.size() > 16) json.unsupported(key, "over 16 levels");
  for (std::int64_t n : blocks)
    if (n < 0 || n > 100) json.unsupported(key, "expected 0 to 100 blocks a level");
  return blocks;
}

}  // namespace

TinyAutoencoderConfig TinyAutoencoderConfig::from(const Config& json) {
  for (const char* key : {"in_channels", "out_channels"}) json.require(key, 3);  // pictures are RGB
  json.require("upsampling_scaling_factor", 2);
  json.require("upsample_fn", "nearest");
  TinyAutoencoderConfig c;
  c.latent_channels = json.integer("latent_channels", c.latent_channels);
  if (c.latent_channels < 1 || c.latent_channels > 1024) json.unsupported("latent_channels", "expected 1 to 1024");
  c.encoder = blocks_of(json, "num_encoder_blocks", {1, 3, 3, 3});
  c.decoder = blocks_of(json, "num_decoder_blocks", {3, 3, 3, 1});
  if (c.encoder.size() != c.decoder.size())
    json.unsupported("num_decoder_blocks",
                     concat(c.decoder.size(), " levels, but num_encoder_blocks has ", c.encoder.size()));
  for (const auto& [key, levels] :
       {std::pair{"encoder_block_out_channels", c.encoder.size()}, {"decoder_block_out_channels", c.decoder.size()}}) {
    std::vector<std::int64_t> channels = json.integers(key);
    if (channels.empty()) channels.assign(levels, 64);
    if (channels.size() != levels) json.unsupported(key, concat("expected ", levels, " levels"));
    if (channels[0] < 1 || std::any_of(channels.begin(), channels.end(), [&](auto n) { return n != channels[0]; }))
      json.unsupported(key, "all levels are equally wide");
    if (key == std::string("decoder_block_out_channels") && channels[0] != c.channels)
      json.unsupported(key, "decoder and encoder are equally wide");
    c.channels = channels[0];
  }
  c.act = activation(json.string("act_fn", "relu"), json.who() + ": act_fn");
  c.scaling_factor = json.number("scaling_factor", c.scaling_factor);
  if (!(c.scaling_factor > 0)) json.unsupported("scaling_factor", "must be positive");
  c.shift_factor = json.number("shift_factor", c.shift_factor);
  return c;
}

// Three convolutions and a shortcut (keys conv.0, conv.2, conv.4).
struct TinyAutoencoder::Block : Module {
  Block(const Weights& w, const TinyAutoencoderConfig& c) : act(c.act) {
    for (int i = 0; i < 3; ++i) convs.push_back(add<Conv2d>(w, concat("conv.", 2 * i), c.channels, c.channels));
  }
  Tensor forward(const Tensor& x) const {
    const Tensor h = act(convs[1]->forward(act(convs[0]->forward(x))));
    return at::relu(convs[2]->forward(h, x));
  }
  Activation act;
  std::vector<std::shared_ptr<Conv2d>> convs;
};

// The layers are numbered through (layers.0, layers.1, ...): a convolution, the level's blocks, and so on.
struct TinyAutoencoder::Encoder : Module {
  Encoder(const Weights& w, const TinyAutoencoderConfig& c) {
    int layer = 0;
    const auto name = [&layer] { return concat("layers.", layer++); };
    for (std::size_t i = 0; i < c.encoder.size(); ++i) {
      auto& level = levels.emplace_back();
      level.first = add<Conv2d>(w, name(), i ? c.channels : 3, c.channels, Conv2d::Params{3, i ? 2 : 1, 1, i == 0});
      for (std::int64_t j = 0; j < c.encoder[i]; ++j) level.second.push_back(add<Block>(w, name(), c));
    }
    conv_out = add<Conv2d>(w, name(), c.channels, c.latent_channels);
  }
  Tensor forward(const Tensor& pictures) const {
    Tensor h = (pictures + 1) / 2;
    for (const auto& [conv, blocks] : levels) {
      h = conv->forward(h);
      for (const auto& block : blocks) h = block->forward(h);
    }
    return conv_out->forward(h);
  }
  std::vector<std::pair<std::shared_ptr<Conv2d>, std::vector<std::shared_ptr<Block>>>> levels;
  std::shared_ptr<Conv2d> conv_out;
};

struct TinyAutoencoder::Decoder : Module {
  Decoder(const Weights& w, const TinyAutoencoderConfig& c) : act(c.act) {
    conv_in = add<Conv2d>(w, "layers.0", c.latent_channels, c.channels);
    int layer = 2;  // an activation was one too
    for (std::size_t i = 0; i < c.decoder.size(); ++i) {
      auto& [blocks, conv] = levels.emplace_back();
      for (std::int64_t j = 0; j < c.decoder[i]; ++j) blocks.push_back(add<Block>(w, concat("layers.", layer++), c));
      const bool last = i + 1 == c.decoder.size();
      layer += !last;  // so was the doubling
      conv =
          add<Conv2d>(w, concat("layers.", layer++), c.channels, last ? 3 : c.channels, Conv2d::Params{3, 1, 1, last});
    }
  }
  Tensor forward(const Tensor& latents) const {
    Tensor h = act(conv_in->forward(at::tanh(latents / 3) * 3));
    for (const auto& [blocks, conv] : levels) {
      for (const auto& block : blocks) h = block->forward(h);
      if (&conv != &levels.back().second) h = at::upsample_nearest2d(h, {2 * h.size(2), 2 * h.size(3)});
      h = conv->forward(h);
    }
    return 2 * h - 1;
  }
  Activation act;
  std::shared_ptr<Conv2d> conv_in;
  std::vector<std::pair<std::vector<std::shared_ptr<Block>>, std::shared_ptr<Conv2d>>> levels;
};

TinyAutoencoder::TinyAutoencoder(const Weights& w, TinyAutoencoderConfig config)
    : config_(std::move(config)), dtype_(w.dtype()) {
  if (w.has("encoder.layers.0.weight")) encoder_ = add<Encoder>(w, "encoder", config_);
  decoder_ = add<Decoder>(w, "decoder", config_);
}

Tensor TinyAutoencoder::decode(const Tensor& latents) const {
  Tensor z = latents / config_.scaling_factor;
  if (config_.shift_factor != 0) z = z + config_.shift_factor;
  return decoder_->forward(z.to(dtype_)).to(at::kFloat);
}

Tensor TinyAutoencoder::encode(const Tensor& pictures, const std::function<Tensor()>&) const {
  if (!encoder_) throw Error(Fault::input, "this autoencoder has no encoder (no tensor 'encoder.layers.0.weight')");
  Tensor z = encoder_->forward(pictures.to(dtype_)).to(at::kFloat);
  if (config_.shift_factor != 0) z = z - config_.shift_factor;
  return config_.scaling_factor * z;
}

}  // namespace sdgen
