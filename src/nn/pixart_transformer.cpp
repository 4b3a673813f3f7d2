#include "nn/pixart_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include <algorithm>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {

PixArtConfig PixArtConfig::from(const Config& json) {
  PixArtConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.sample_size = size("sample_size", c.sample_size);
  c.patch = size("patch_size", c.patch, c.sample_size);
  c.in_channels = size("in_channels", c.in_channels);
  c.out_channels = size("out_channels", json.json().contains("out_channels") ? c.in_channels : c.out_channels);
  c.layers = size("num_layers", c.layers);
  c.heads = size("num_attention_heads", c.heads);
  c.width = c.heads * size("attention_head_dim", 72, 100'000);
  c.caption_width = size("caption_channels", 0);
  c.norm_eps = json.positive("norm_eps", c.norm_eps);
  c.position_scale = json.positive("interpolation_scale", double(std::max<std::int64_t>(c.sample_size / 64, 1)));
  c.told_sizes = json.boolean("use_additional_conditions", c.sample_size == 128);
  c.projection_bias = json.boolean("attention_bias", c.projection_bias);
  if (c.told_sizes && c.width % 3 != 0)
    json.unsupported("use_additional_conditions", concat("height, width and shape do not divide ", c.width, " by 3"));
  if (json.integer("cross_attention_dim", 1152) != c.width)
    json.unsupported("cross_attention_dim", concat("expected num_attention_heads * attention_head_dim = ", c.width));
  require_patch_network(json, c.width, c.in_channels, c.out_channels);
  json.require("norm_type", "ada_norm_single");
  return c;
}

// Self-attention, cross-attention, a feed-forward network; what the time makes of the step moves the first and the
// last.
struct PixArtTransformer::Block : Module {
  Block(const Weights& w, const PixArtConfig& c)
      : eps(c.norm_eps),
        table(param(w, "scale_shift_table", {6, c.width})),
        among_patches(add<Attention>(w, "attn1", Attention::Params{c.width, c.width, c.heads, c.projection_bias})),
        to_prompt(add<Attention>(w, "attn2", Attention::Params{c.width, c.width, c.heads, c.projection_bias})),
        ff(add<GeluFeedForward>(w, "ff", c.width)) {}

  // `of_time`: shift, scale and gate of the attention, then those of the network.
  Tensor forward(const Tensor& x, const TextMemory::Tensors& prompt, const Tensor& mask,
                 const std::vector<Tensor>& of_time) const {
    const Tensor own = fetched(table, x);
    const auto m = [&](int i) { return of_time[i] + own[i]; };
    const Tensor y = modulated(x, m(0), m(1), eps);
    const Tensor seen = gated(x, m(2), among_patches->forward(y, y));
    const Tensor told = to_prompt->forward(seen, prompt, seen, mask);
    return gated(told, m(5), ff->forward(modulated(told, m(3), m(4), eps)));
  }

  double eps;
  Tensor table;
  std::shared_ptr<Attention> among_patches, to_prompt;
  std::shared_ptr<GeluFeedForward> ff;
};

PixArtTransformer::PixArtTransformer(const Weights& w, const PixArtConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      patches_(add<Patches>(w, "pos_embed", c.in_channels, c.patch, c.width)),
      modulation_(add<Modulation>(w, "adaln_single", c.width, 6)),
      caption_(
          add<Mlp2>(w, "caption_projection", c.caption_width, c.width, c.width, Activation{Activation::gelu_tanh})),
      table_(param(w, "scale_shift_table", {2, c.width})),
      out_(add<Linear>(w, "proj_out", c.width, c.patch * c.patch * c.out_channels)) {
  const auto embedder = [&](const char* name, std::int64_t width) {
    return add<Mlp2>(w, concat("adaln_single.emb.", name), 256, width, width, kSilu);
  };
  time_ = embedder("timestep_embedder", c.width);
  if (c.told_sizes) {
    size_ = embedder("resolution_embedder", c.width / 3);
    shape_ = embedder("aspect_ratio_embedder", c.width / 3);
  }
  for (std::int64_t i = 0; i < c.layers; ++i) blocks_.push_back(add<Block>(w, concat("transformer_blocks.", i), c));
}

Tensor PixArtTransformer::embed(const Tensor& x, const Tensor& t) const {
  const Tensor time = time_->forward(sinusoids_256(t).to(dtype_));
  if (!size_) return time;
  const double height = double(x.size(2) * config_.pixels), width = double(x.size(3) * config_.pixels);
  const auto told = [&](const std::shared_ptr<Mlp2>& embedder, double number) {
    return embedder->forward(sinusoids_256(at::full({1}, number, t.options().dtype(at::kFloat))).to(dtype_));
  };
  return time + at::cat({told(size_, height), told(size_, width), told(shape_, height / width)}, -1);
}

Tensor PixArtTransformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                              const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / config_.patch, width = x.size(3) / config_.patch;
  const double base = double(config_.sample_size / config_.patch);
  const Tensor positions = patch_positions(height, width, config_.width, base, config_.position_scale, x);
  Tensor h = (patches_->forward(x.to(dtype_)) + positions).to(dtype_);
  const Tensor embedding = embed(x, t);
  Tensor context;  // where a layer asks for it
  const auto told = [&](const Attention& layer) {
    return conditioning.of_text.of(&layer, [&] {
      if (!context.defined()) context = caption_->forward(conditioning.context.to(dtype_));
      return layer.told(context);
    });
  };
  const std::vector<Tensor> of_time = modulation_->forward(embedding);
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    const Tensor mask = rows.of(conditioning.context_mask);
    std::vector<Tensor> moves;
    for (const Tensor& move : of_time) moves.push_back(rows.of(move));
    for (std::size_t i = begin; i < end; ++i) {
      TextMemory::Tensors prompt = told(*blocks_[i]->to_prompt);
      for (Tensor& one : prompt) one = rows.of(one);
      s[0] = blocks_[i]->forward(s[0], prompt, mask, moves);
    }
    return s;
  };
  h = BlockCache::through(cache, blocks_.size(), layers, BlockCache::streams(std::move(h)));
  // Of the embedding itself, not of its silu.
  const Tensor table = fetched(table_, h);
  const Tensor tokens = out_->forward(modulated(h, embedding + table[0], embedding + table[1]));
  return unpatched(tokens, height, width, config_.patch).slice(1, 0, config_.in_channels).to(at::kFloat);
}

}  // namespace sdgen
