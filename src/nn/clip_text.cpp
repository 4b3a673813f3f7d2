#include "nn/clip_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include "nn/attention.h"
#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {

ClipTextConfig ClipTextConfig::from(const Config& json) {
  ClipTextConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 100'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.vocab_size = size("vocab_size", c.vocab_size);
  c.width = size("hidden_size", c.width);
  c.inner_width = size("intermediate_size", c.inner_width);
  c.layers = size("num_hidden_layers", c.layers, 1000);
  c.heads = json.integer("num_attention_heads", c.heads);
  c.max_positions = size("max_position_embeddings", c.max_positions);
  c.projection_width = size("projection_dim", c.projection_width);
  c.norm_eps = json.positive("layer_norm_eps", c.norm_eps);
  c.eos_id = json.integer("eos_token_id", c.eos_id);
  c.act = activation(json.string("hidden_act", "quick_gelu"), json.who() + ": hidden_act");
  if (c.heads <= 0 || c.width % c.heads != 0)
    json.unsupported("num_attention_heads", concat("hidden_size is ", c.width));
  return c;
}

// Pre-norm transformer layer; keys as transformers spells them.
struct ClipText::Layer : Module {
  Layer(const Weights& w, const ClipTextConfig& c)
      : heads(c.heads),
        act(c.act),
        norm1(add<LayerNorm>(w, "layer_norm1", c.width, c.norm_eps)),
        norm2(add<LayerNorm>(w, "layer_norm2", c.width, c.norm_eps)),
        q(add<Linear>(w, "self_attn.q_proj", c.width, c.width)),
        k(add<Linear>(w, "self_attn.k_proj", c.width, c.width)),
        v(add<Linear>(w, "self_attn.v_proj", c.width, c.width)),
        out(add<Linear>(w, "self_attn.out_proj", c.width, c.width)),
        fc1(add<Linear>(w, "mlp.fc1", c.width, c.inner_width)),
        fc2(add<Linear>(w, "mlp.fc2", c.inner_width, c.width)) {}

  Tensor forward(const Tensor& x) const {
    const Tensor y = norm1->forward(x);
    const Tensor mixed = ops::attention(q->forward(y), k->forward(y), v->forward(y), heads, /*causal=*/true);
    const Tensor h = out->forward(mixed, x);
    return fc2->forward(act(fc1->forward(norm2->forward(h))), h);
  }

  std::int64_t heads;
  Activation act;
  std::shared_ptr<LayerNorm> norm1, norm2;
  std::shared_ptr<Linear> q, k, v, out, fc1, fc2;
};

ClipText::ClipText(const Weights& weights, const ClipTextConfig& config, const Tensor& words)
    : Module(weights), config_(config) {
  const Weights inner = weights / "text_model";
  const bool wrapped = inner.has("embeddings.token_embedding.weight") || inner.has("final_layer_norm.weight");
  const Weights& w = wrapped ? inner : weights;
  tokens_ = add<Embedding>(w, "embeddings.token_embedding", config.vocab_size, config.width, words);
  if (words.defined()) config_.vocab_size += words.size(0);
  positions_ = add<Embedding>(w, "embeddings.position_embedding", config.max_positions, config.width);
  for (std::int64_t i = 0; i < config.layers; ++i)
    layers_.push_back(add<Layer>(w, concat("encoder.layers.", i), config));
  final_norm_ = add<LayerNorm>(w, "final_layer_norm", config.width, config.norm_eps);
  if (weights.has("text_projection.weight"))
    projection_ = add<Linear>(weights, "text_projection", config.width, config.projection_width, /*with_bias=*/false);
}

ClipText::Output ClipText::forward(const Tensor& ids) const {
  take_up_device();
  Output out;
  const auto options = ids.options();
  Tensor h = tokens_->forward(ids) + positions_->forward(at::arange(ids.size(1), options));
  out.hidden.push_back(h);
  for (const auto& layer : layers_) out.hidden.push_back(h = layer->forward(h));
  out.last = final_norm_->forward(h);
  // The first end token of each row; configs from before transformers 4.31 say eos 2 and mean the largest id.
  const Tensor end = config_.eos_id == 2 ? ids.argmax(-1) : ids.eq(config_.eos_id).to(at::kInt).argmax(-1);
  out.pooled = out.last.index({at::arange(ids.size(0), options), end});
  if (projection_) out.pooled = projection_->forward(out.pooled);
  return out;
}

}  // namespace sdgen
