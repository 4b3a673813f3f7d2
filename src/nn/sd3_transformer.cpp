#include "nn/sd3_transformer.h"

#include <ATen/TensorOperators.h>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {

Sd3Config Sd3Config::from(const Config& json) {
  Sd3Config c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.sample_size = size("sample_size", c.sample_size);
  c.patch = size("patch_size", c.patch);
  c.in_channels = size("in_channels", c.in_channels);
  c.layers = size("num_layers", c.layers);
  c.heads = size("num_attention_heads", c.heads);
  c.context_width = size("joint_attention_dim", c.context_width);
  c.pooled_width = size("pooled_projection_dim", c.pooled_width);
  c.table_size = size("pos_embed_max_size", c.table_size);
  const std::int64_t head = size("attention_head_dim", 64, 100'000);
  c.width = c.heads * head;
  c.out_channels = json.integer("out_channels", c.in_channels);
  if (json.integer("caption_projection_dim", 1152) != c.width)
    json.unsupported("caption_projection_dim", concat("expected num_attention_heads * attention_head_dim = ", c.width));
  const std::string norm = json.string("qk_norm", "");
  if (!norm.empty() && norm != "rms_norm") json.unsupported("qk_norm", "null and rms_norm are supported");
  c.qk_norm = !norm.empty();
  const char* dual = "dual_attention_layers";
  if (json.has(dual) && json.json().at(dual) != Json::array())
    for (const std::int64_t layer : json.integers(dual)) c.dual_layers.insert(layer);
  return c;
}

Sd3Transformer::Sd3Transformer(const Weights& w, const Sd3Config& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      patches_(
          add<PlacedPatches>(w, "pos_embed", PlacedPatches::Params{c.in_channels, c.patch, c.width, c.table_size})),
      embedding_(add<TimeTextEmbedding>(w, "time_text_embed", c.pooled_width, c.width)),
      context_(add<Linear>(w, "context_embedder", c.context_width, c.width)),
      norm_out_(add<Modulation>(w, "norm_out", c.width, 2)),
      out_(add<Linear>(w, "proj_out", c.width, c.patch * c.patch * c.out_channels)) {
  for (std::int64_t i = 0; i < c.layers; ++i)
    blocks_.push_back(
        add<Sd3Block>(w, concat("transformer_blocks.", i),
                      Sd3Block::Params{c.width, c.heads, c.qk_norm, c.dual_layers.contains(i),
                                       i + 1 < c.layers ? Sd3Block::Prompt::goes_on : Sd3Block::Prompt::seen}));
}

class Sd3Transformer::Without final : public Backbone {
 public:
  Without(std::shared_ptr<const Sd3Transformer> whole, const std::vector<int>& layers)
      : whole_(std::move(whole)), layers_(layers.begin(), layers.end()) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return whole_->run(layers_, {}, nullptr, x, t, conditioning);
  }

 private:
  std::shared_ptr<const Sd3Transformer> whole_;
  std::set<int> layers_;
};

std::shared_ptr<const Backbone> Sd3Transformer::without(std::shared_ptr<const Sd3Transformer> whole,
                                                        const std::vector<int>& layers) {
  return std::make_shared<const Without>(std::move(whole), layers);
}

Tensor Sd3Transformer::tokens(const Tensor& x) const {
  take_up_device();
  return patches_->forward(x.to(dtype_));
}

Tensor Sd3Transformer::run(const std::set<int>& without, const LayerAdditions& additions, BlockCache* cache,
                           const Tensor& x, const Tensor& t, const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / config_.patch, width = x.size(3) / config_.patch;
  Tensor h = tokens(x);
  const Tensor embedding = embedding_->forward(t, conditioning.pooled);
  Tensor context = context_->forward(conditioning.context.to(dtype_));
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    const Tensor of_rows = rows.of(embedding);
    for (std::size_t i = begin; i < end; ++i) {
      if (!without.contains(static_cast<int>(i))) blocks_[i]->forward(s[0], s[1], of_rows);
      if (i + 1 < blocks_.size()) s[0] = additions.behind(i, s[0]);
    }
    return s;
  };
  h = BlockCache::through(cache, blocks_.size(), layers, BlockCache::streams(std::move(h), std::move(context)));
  const std::vector<Tensor> m = norm_out_->forward(embedding);
  return unpatched(out_->forward(modulated(h, m[1], m[0])), height, width, config_.patch).to(at::kFloat);
}

}  // namespace sdgen
