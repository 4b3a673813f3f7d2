#include "nn/lumina2_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::int64_t kMostTold = 1024;  // numbers of what a step becomes

constexpr SandwichNames kLumina2Layer{.attention = "attn",
                                      .before_attention = "norm1.norm",
                                      .behind_attention = "norm2",
                                      .before_ff = "ffn_norm1",
                                      .behind_ff = "ffn_norm2",
                                      .gate = "feed_forward.linear_1",
                                      .value = "feed_forward.linear_3",
                                      .out = "feed_forward.linear_2",
                                      .modulation = "norm1.linear"};

// Of a layer that nothing moves.
constexpr SandwichNames still(SandwichNames names) {
  names.before_attention = "norm1";
  return names;
}

}  // namespace

Lumina2Config Lumina2Config::from(const Config& json) {
  Lumina2Config c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.sample_size = size("sample_size", c.sample_size);
  c.patch = size("patch_size", c.patch, 64);
  c.channels = size("in_channels", c.channels);
  if (json.integer("out_channels", c.channels) != c.channels)
    json.unsupported("out_channels", concat("expected in_channels, ", c.channels));
  c.width = size("hidden_size", c.width);
  c.layers = size("num_layers", c.layers);
  c.refiner_layers = size("num_refiner_layers", c.refiner_layers);
  c.heads = size("num_attention_heads", c.heads);
  c.kv_heads = size("num_kv_heads", json.json().contains("num_kv_heads") ? c.heads : c.kv_heads);
  c.caption_width = size("cap_feat_dim", c.caption_width);
  c.norm_eps = json.positive("norm_eps", c.norm_eps);
  if (c.width % c.heads != 0)
    json.unsupported("num_attention_heads", concat("expected a number that divides hidden_size, ", c.width));
  if (c.heads % c.kv_heads != 0)
    json.unsupported("num_kv_heads", concat("expected a number that divides num_attention_heads, ", c.heads));
  c.axes = rotary_axes(json, "axes_dim_rope", c.axes, 3, c.width / c.heads);
  // As diffusers rounds it.
  const std::int64_t multiple = size("multiple_of", 256);
  const double inner = double(4 * c.width) * json.positive("ffn_dim_multiplier", 1);
  if (inner < 1 || inner > 1e7) json.unsupported("ffn_dim_multiplier", "the feed-forward networks become too wide");
  c.ff_width = (static_cast<std::int64_t>(inner) + multiple - 1) / multiple * multiple;
  return c;
}

Lumina2Transformer::Lumina2Transformer(const Weights& w, const Lumina2Config& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      patches_(add<Linear>(w, "x_embedder", c.patch * c.patch * c.channels, c.width)),
      caption_(add<Linear>(w, "time_caption_embed.caption_embedder.1", c.caption_width, c.width)),
      caption_norm_(add<RmsNorm>(w, "time_caption_embed.caption_embedder.0", c.caption_width, c.norm_eps)) {
  const std::int64_t embedding = std::min(c.width, kMostTold);
  time_ = add<Mlp2>(w, "time_caption_embed.timestep_embedder", 256, embedding, embedding, kSilu);
  const auto add_layers = [&](const char* name, std::int64_t count, bool moved) {
    std::vector<std::shared_ptr<SandwichLayer>> layers;
    const SandwichLayer::Params params{.width = c.width,
                                       .heads = c.heads,
                                       .kv_heads = c.kv_heads,
                                       .ff_width = c.ff_width,
                                       .embedding_width = moved ? embedding : 0,
                                       .embedding_silu = true,
                                       .norm_eps = c.norm_eps};
    for (std::int64_t i = 0; i < count; ++i)
      layers.push_back(
          add<SandwichLayer>(w, concat(name, '.', i), moved ? kLumina2Layer : still(kLumina2Layer), params));
    return layers;
  };
  picture_refiners_ = add_layers("noise_refiner", c.refiner_layers, /*moved=*/true);
  caption_refiners_ = add_layers("context_refiner", c.refiner_layers, /*moved=*/false);
  layers_ = add_layers("layers", c.layers, /*moved=*/true);
  out_ = add<ScaledOut>(w, "norm_out", "linear_1", "linear_2", embedding, c.width, c.patch * c.patch * c.channels);
}

Tensor Lumina2Transformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                               const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / config_.patch, width = x.size(3) / config_.patch,
                     words = conditioning.context.size(1);
  // It is told how much of the picture there is, not how much noise.
  const Tensor embedding = time_->forward(sinusoids_256(1 - t / 1000).to(dtype_));
  const Tensor of_words = rotations(places_in_line(0, words, x), config_.axes),
               of_patches = rotations(places_in_grid(double(words), height, width, x), config_.axes);
  Tensor told = caption_->forward(caption_norm_->forward(conditioning.context.to(dtype_)));
  for (const auto& layer : caption_refiners_) told = layer->forward(told, of_words);
  Tensor h = patches_->forward(patched(x.to(dtype_), config_.patch));
  for (const auto& layer : picture_refiners_) h = layer->forward(h, of_patches, embedding);
  h = at::cat({told, h}, 1);
  const Tensor all = at::cat({of_words, of_patches});
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    for (std::size_t i = begin; i < end; ++i) s[0] = layers_[i]->forward(s[0], all, rows.of(embedding));
    return s;
  };
  h = BlockCache::through(cache, layers_.size(), layers, BlockCache::streams(std::move(h)));
  // It says x0 - noise.
  return -unpatched(out_->forward(h.slice(1, words), embedding), height, width, config_.patch).to(at::kFloat);
}

}  // namespace sdgen
