#include "nn/z_image_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::int64_t kGroup = 32;          // tokens of either kind come in multiples of this
constexpr std::int64_t kMostEmbedded = 256;  // numbers of what a step becomes
constexpr std::int64_t kTimeWidth = 1024;    // inside the network that makes them

constexpr SandwichNames kZImageLayer{.attention = "attention",
                                     .before_attention = "attention_norm1",
                                     .behind_attention = "attention_norm2",
                                     .before_ff = "ffn_norm1",
                                     .behind_ff = "ffn_norm2",
                                     .gate = "feed_forward.w1",
                                     .value = "feed_forward.w3",
                                     .out = "feed_forward.w2",
                                     .modulation = "adaLN_modulation.0"};

// How many learned tokens stand behind `count`.
std::int64_t missing(std::int64_t count) { return (kGroup - count % kGroup) % kGroup; }

Tensor filled_up(const Tensor& tokens, const Tensor& pad) {
  const std::int64_t more = missing(tokens.size(1));
  return more == 0 ? tokens : at::cat({tokens, pad.expand({tokens.size(0), more, -1})}, 1);
}

}  // namespace

ZImageConfig ZImageConfig::from(const Config& json) {
  ZImageConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  json.require("all_patch_size", {kZImagePatch});
  json.require("all_f_patch_size", {1});
  if (json.has("siglip_feat_dim")) json.unsupported("siglip_feat_dim", "Z-Image-Omni, which is shown pictures, is not");
  c.channels = size("in_channels", c.channels);
  c.width = size("dim", c.width);
  c.layers = size("n_layers", c.layers);
  c.refiner_layers = size("n_refiner_layers", c.refiner_layers);
  c.heads = size("n_heads", c.heads);  // n_kv_heads says nothing: diffusers' class gives each head its own
  c.caption_width = size("cap_feat_dim", c.caption_width);
  c.norm_eps = json.positive("norm_eps", c.norm_eps);
  c.rope_theta = json.positive("rope_theta", c.rope_theta);
  c.time_scale = json.positive("t_scale", c.time_scale);
  c.qk_norm = json.boolean("qk_norm", c.qk_norm);
  if (c.width % c.heads != 0) json.unsupported("n_heads", concat("expected a number that divides dim, ", c.width));
  c.axes = rotary_axes(json, "axes_dims", c.axes, 3, c.width / c.heads);
  return c;
}

struct ZImageTransformer::Stream {
  Tensor tokens, rotations;
};

ZImageTransformer::ZImageTransformer(const Weights& w, const ZImageConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      patches_(add<Linear>(w, "all_x_embedder.2-1", kZImagePatch * kZImagePatch * c.channels, c.width)),
      caption_(add<Linear>(w, "cap_embedder.1", c.caption_width, c.width)),
      caption_norm_(add<RmsNorm>(w, "cap_embedder.0", c.caption_width, c.norm_eps)),
      patch_pad_(param(w, "x_pad_token", {1, c.width})),
      caption_pad_(param(w, "cap_pad_token", {1, c.width})) {
  const std::int64_t embedding = std::min(c.width, kMostEmbedded);
  time_in_ = add<Linear>(w, "t_embedder.mlp.0", 256, kTimeWidth);
  time_out_ = add<Linear>(w, "t_embedder.mlp.2", kTimeWidth, embedding);
  const auto add_layers = [&](const char* name, std::int64_t count, bool moved) {
    std::vector<std::shared_ptr<SandwichLayer>> layers;
    // The feed-forward network's width as diffusers rounds it.
    const SandwichLayer::Params params{.width = c.width,
                                       .heads = c.heads,
                                       .kv_heads = c.heads,
                                       .ff_width = static_cast<std::int64_t>(double(c.width) / 3 * 8),
                                       .embedding_width = moved ? embedding : 0,
                                       .qk_norm = c.qk_norm,
                                       .norm_eps = c.norm_eps};
    for (std::int64_t i = 0; i < count; ++i)
      layers.push_back(add<SandwichLayer>(w, concat(name, '.', i), kZImageLayer, params));
    return layers;
  };
  picture_refiners_ = add_layers("noise_refiner", c.refiner_layers, /*moved=*/true);
  caption_refiners_ = add_layers("context_refiner", c.refiner_layers, /*moved=*/false);
  layers_ = add_layers("layers", c.layers, /*moved=*/true);
  out_ = add<ScaledOut>(w, "all_final_layer.2-1", "adaLN_modulation.1", "linear", embedding, c.width,
                        kZImagePatch * kZImagePatch * c.channels);
}

// It is told how much of the picture there is, not how much noise.
Tensor ZImageTransformer::embed(const Tensor& t) const {
  const Tensor told = (1000 - t) / 1000 * config_.time_scale;
  return time_out_->forward(kSilu(time_in_->forward(sinusoids_256(told).to(dtype_))));
}

Tensor ZImageTransformer::turned(const Tensor& places) const {
  return rotations(places, config_.axes, config_.rope_theta, at::kFloat);
}

// Words, and learned tokens behind them, stand at places 1, 2, ... of the first axis.
ZImageTransformer::Stream ZImageTransformer::prompt(const Tensor& context) const {
  const Tensor tokens =
      filled_up(caption_->forward(caption_norm_->forward(context.to(dtype_))), fetched(caption_pad_, context));
  const Tensor turns = turned(places_in_line(1, tokens.size(1), context));
  Stream stream{tokens, turns};
  for (const auto& layer : caption_refiners_) stream.tokens = layer->forward(stream.tokens, turns);
  return stream;
}

// Patches share the `place` behind the prompt, and have their row and column; learned tokens are at 0 of everything.
ZImageTransformer::Stream ZImageTransformer::picture(const Tensor& x, std::int64_t place) const {
  const std::int64_t height = x.size(2) / kZImagePatch, width = x.size(3) / kZImagePatch;
  const Tensor patches = places_in_grid(double(place), height, width, x);
  const Tensor places = at::cat({patches, at::zeros({missing(height * width), 3}, patches.options())});
  return {filled_up(patches_->forward(patched(x.to(dtype_), kZImagePatch)), fetched(patch_pad_, x)), turned(places)};
}

Tensor ZImageTransformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                              const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / kZImagePatch, width = x.size(3) / kZImagePatch;
  const Tensor embedding = embed(t);
  const Stream words = prompt(conditioning.context);
  auto [h, turns] = picture(x, words.tokens.size(1) + 1);
  for (const auto& layer : picture_refiners_) h = layer->forward(h, turns, embedding);
  h = at::cat({h, words.tokens}, 1);
  const Tensor all = at::cat({turns, words.rotations});
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    for (std::size_t i = begin; i < end; ++i) s[0] = layers_[i]->forward(s[0], all, rows.of(embedding));
    return s;
  };
  h = BlockCache::through(cache, layers_.size(), layers, BlockCache::streams(std::move(h)));
  const Tensor drawn = out_->forward(h.slice(1, 0, height * width), embedding);
  // It says x0 - noise.
  return -unpatched(drawn, height, width, kZImagePatch).to(at::kFloat);
}

}  // namespace sdgen
