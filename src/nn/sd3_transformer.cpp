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

// A layer: attention, then a feed-forward network, of both streams, each moved by the embedding.
struct Sd3Transformer::Block : Module {
  Block(const Weights& w, const Sd3Config& c, std::int64_t index) {
    const bool last = index + 1 == c.layers, dual = c.dual_layers.contains(index);
    using Second = JointAttention::Second;
    attention = add<JointAttention>(
        w, "attn", JointAttention::Params{c.width, c.heads, c.qk_norm, last ? Second::in : Second::in_and_out});
    if (dual) attention2 = add<JointAttention>(w, "attn2", JointAttention::Params{c.width, c.heads, c.qk_norm});
    image = std::make_shared<ModulatedStream>(w, "norm1", "ff", c.width, dual ? 9 : 6);
    adopt_children(*image);
    if (last) {  // nothing comes after the prompt's tokens
      last_norm = add<Modulation>(w, "norm1_context", c.width, 2);
    } else {
      text = std::make_shared<ModulatedStream>(w, "norm1_context", "ff_context", c.width, 6);
      adopt_children(*text);
    }
  }

  void forward(Tensor& x, Tensor& context, const Tensor& embedding) const {
    const std::vector<Tensor> m = image->norm->forward(embedding);
    const std::vector<Tensor> n = (text ? text->norm : last_norm)->forward(embedding);
    // AdaLayerNormContinuous, the last layer's, says the scale first.
    const Tensor normed_context = text ? modulated(context, n[0], n[1]) : modulated(context, n[1], n[0]);
    const JointAttention::Streams attended = attention->forward(modulated(x, m[0], m[1]), normed_context);
    Tensor h = gated(x, m[2], attended.first);
    if (attention2) h = gated(h, m[8], attention2->forward(modulated(x, m[6], m[7])).first);
    x = image->fed_forward(h, m);
    if (text) context = text->fed_forward(gated(context, n[2], attended.second), n);
  }

  std::shared_ptr<JointAttention> attention, attention2;
  std::shared_ptr<ModulatedStream> image, text;
  std::shared_ptr<Modulation> last_norm;
};

Sd3Transformer::Sd3Transformer(const Weights& w, const Sd3Config& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      patches_(add<Patches>(w, "pos_embed", c.in_channels, c.patch, c.width)),
      positions_(param(w, "pos_embed.pos_embed", {1, c.table_size * c.table_size, c.width})),
      time_(add<Mlp2>(w, "time_text_embed.timestep_embedder", 256, c.width, c.width, Activation{Activation::silu})),
      pooled_(add<Mlp2>(w, "time_text_embed.text_embedder", c.pooled_width, c.width, c.width,
                        Activation{Activation::silu})),
      context_(add<Linear>(w, "context_embedder", c.context_width, c.width)),
      norm_out_(add<Modulation>(w, "norm_out", c.width, 2)),
      out_(add<Linear>(w, "proj_out", c.width, c.patch * c.patch * c.out_channels)) {
  for (std::int64_t i = 0; i < c.layers; ++i) blocks_.push_back(add<Block>(w, concat("transformer_blocks.", i), c, i));
}

Tensor Sd3Transformer::positions(const Tensor& table, std::int64_t height, std::int64_t width) const {
  const std::int64_t n = config_.table_size;
  if (height > n || width > n)
    throw Error(Fault::usage, concat("the model has positions for ", n, "x", n, " patches, and the picture has ", width,
                                     "x", height));
  return table.view({1, n, n, config_.width})
      .narrow(1, (n - height) / 2, height)
      .narrow(2, (n - width) / 2, width)
      .reshape({1, height * width, config_.width});
}

class Sd3Transformer::Without final : public Backbone {
 public:
  Without(std::shared_ptr<const Sd3Transformer> whole, const std::vector<int>& layers)
      : whole_(std::move(whole)), layers_(layers.begin(), layers.end()) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override {
    return whole_->predict_without(layers_, x, t, conditioning);
  }

 private:
  std::shared_ptr<const Sd3Transformer> whole_;
  std::set<int> layers_;
};

std::shared_ptr<const Backbone> Sd3Transformer::without(std::shared_ptr<const Sd3Transformer> whole,
                                                        const std::vector<int>& layers) {
  return std::make_shared<const Without>(std::move(whole), layers);
}

Tensor Sd3Transformer::predict_without(const std::set<int>& layers, const Tensor& x, const Tensor& t,
                                       const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / config_.patch, width = x.size(3) / config_.patch;
  Tensor h = patches_->forward(x.to(dtype_)) + positions(fetched(positions_, x), height, width);
  const Tensor embedding =
      time_->forward(sinusoids_256(t).to(dtype_)) + pooled_->forward(conditioning.pooled.to(dtype_));
  Tensor context = context_->forward(conditioning.context.to(dtype_));
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    if (!layers.contains(static_cast<int>(i))) blocks_[i]->forward(h, context, embedding);
  const std::vector<Tensor> m = norm_out_->forward(embedding);
  return unpatched(out_->forward(modulated(h, m[1], m[0])), height, width, config_.patch).to(at::kFloat);
}

}  // namespace sdgen
