#include "nn/dit_transformer.h"

#include <ATen/TensorOperators.h>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {

DiTConfig DiTConfig::from(const Config& json) {
  DiTConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.sample_size = size("sample_size", c.sample_size);
  c.patch = size("patch_size", c.patch, c.sample_size);
  c.in_channels = size("in_channels", c.in_channels);
  c.out_channels = size("out_channels", c.in_channels);
  c.layers = size("num_layers", c.layers);
  c.heads = size("num_attention_heads", c.heads);
  c.width = c.heads * size("attention_head_dim", 72, 100'000);
  c.classes = size("num_embeds_ada_norm", c.classes);
  c.norm_eps = json.positive("norm_eps", c.norm_eps);
  c.projection_bias = json.boolean("attention_bias", c.projection_bias);
  if (c.sample_size % c.patch != 0)
    json.unsupported("patch_size", concat("expected a divisor of sample_size, which is ", c.sample_size));
  require_patch_network(json, c.width, c.in_channels, c.out_channels);
  json.require("norm_type", "ada_norm_zero");
  return c;
}

// Self-attention, then a feed-forward network, moved by a layer's own embedding of step and class.
struct DiTTransformer::Block : Module {
  Block(const Weights& w, const DiTConfig& c)
      : eps(c.norm_eps),
        time(add<Mlp2>(w, "norm1.emb.timestep_embedder", 256, c.width, c.width, kSilu)),
        classes(add<Embedding>(w, "norm1.emb.class_embedder.embedding_table", c.classes + 1, c.width)),
        modulation(add<Modulation>(w, "norm1", c.width, 6)),
        attention(add<Attention>(w, "attn1", Attention::Params{c.width, c.width, c.heads, c.projection_bias})),
        ff(add<GeluFeedForward>(w, "ff", c.width)) {}

  Tensor embed(const Tensor& sinusoids, const Tensor& numbers) const {
    return time->forward(sinusoids) + classes->forward(numbers);
  }
  Tensor forward(const Tensor& x, const Tensor& embedding) const {
    const std::vector<Tensor> m = modulation->forward(embedding);
    const Tensor y = modulated(x, m[0], m[1]);
    const Tensor seen = gated(x, m[2], attention->forward(y, y));
    return gated(seen, m[5], ff->forward(modulated(seen, m[3], m[4], eps)));
  }

  double eps;
  std::shared_ptr<Mlp2> time;
  std::shared_ptr<Embedding> classes;
  std::shared_ptr<Modulation> modulation;
  std::shared_ptr<Attention> attention;
  std::shared_ptr<GeluFeedForward> ff;
};

DiTTransformer::DiTTransformer(const Weights& w, const DiTConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      patches_(add<Patches>(w, "pos_embed", c.in_channels, c.patch, c.width)),
      modulation_(add<Linear>(w, "proj_out_1", c.width, 2 * c.width)),
      out_(add<Linear>(w, "proj_out_2", c.width, c.patch * c.patch * c.out_channels)) {
  for (std::int64_t i = 0; i < c.layers; ++i) blocks_.push_back(add<Block>(w, concat("transformer_blocks.", i), c));
}

Tensor DiTTransformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                           const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / config_.patch, width = x.size(3) / config_.patch;
  const double base = double(config_.sample_size / config_.patch);
  const Tensor positions = patch_positions(height, width, config_.width, base, /*scale=*/1, x);
  Tensor h = (patches_->forward(x.to(dtype_)) + positions).to(dtype_);
  const Tensor sinusoids = sinusoids_256(t, /*freq_shift=*/1).to(dtype_);
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    const Tensor steps = rows.of(sinusoids), classes = rows.of(conditioning.classes);
    for (std::size_t i = begin; i < end; ++i) s[0] = blocks_[i]->forward(s[0], blocks_[i]->embed(steps, classes));
    return s;
  };
  h = BlockCache::through(cache, blocks_.size(), layers, BlockCache::streams(std::move(h)));
  // The first layer's embedding moves the last norm.
  const Tensor embedding = blocks_.front()->embed(sinusoids, conditioning.classes);
  const std::vector<Tensor> m = modulation_->forward(kSilu(embedding)).chunk(2, -1);
  const Tensor tokens = out_->forward(modulated(h, m[0], m[1]));
  return unpatched(tokens, height, width, config_.patch).slice(1, 0, config_.in_channels).to(at::kFloat);
}

}  // namespace sdgen
