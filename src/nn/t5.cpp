#include "nn/t5.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {

T5Config T5Config::from(const Config& json) {
  T5Config c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 100'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.vocab_size = size("vocab_size", c.vocab_size);
  c.width = size("d_model", c.width);
  c.head_width = size("d_kv", c.head_width);
  c.inner_width = size("d_ff", c.inner_width);
  c.layers = size("num_layers", c.layers, 1000);
  c.heads = size("num_heads", c.heads);
  c.buckets = size("relative_attention_num_buckets", c.buckets);
  c.max_distance = size("relative_attention_max_distance", c.max_distance);
  if (c.buckets < 4 || c.buckets % 4 != 0 || c.buckets > 65536)
    json.unsupported("relative_attention_num_buckets", "expected a multiple of 4 up to 65536");
  if (c.max_distance <= c.buckets / 4)
    json.unsupported("relative_attention_max_distance", concat("expected more than ", c.buckets / 4));
  c.norm_eps = json.positive("layer_norm_epsilon", c.norm_eps);
  // Version 1.1's; "relu" is version 1's.
  json.require("feed_forward_proj", "gated-gelu");
  return c;
}

// Self-attention with biases by distance and without scale, then a gated feed-forward network, each with a residual.
struct T5::Layer : Module {
  Layer(const Weights& w, const T5Config& c)
      : heads(c.heads),
        norm1(add<RmsNorm>(w, "layer.0.layer_norm", c.width, c.norm_eps)),
        norm2(add<RmsNorm>(w, "layer.1.layer_norm", c.width, c.norm_eps)) {
    const std::int64_t inner = c.heads * c.head_width;
    const std::string attention = "layer.0.SelfAttention.", network = "layer.1.DenseReluDense.";
    q = add<Linear>(w, attention + "q", c.width, inner, /*with_bias=*/false);
    k = add<Linear>(w, attention + "k", c.width, inner, /*with_bias=*/false);
    v = add<Linear>(w, attention + "v", c.width, inner, /*with_bias=*/false);
    o = add<Linear>(w, attention + "o", inner, c.width, /*with_bias=*/false);
    gate = add<Linear>(w, network + "wi_0", c.width, c.inner_width, /*with_bias=*/false);
    in = add<Linear>(w, network + "wi_1", c.width, c.inner_width, /*with_bias=*/false);
    out = add<Linear>(w, network + "wo", c.inner_width, c.width, /*with_bias=*/false);
  }

  Tensor forward(const Tensor& x, const Tensor& bias) const {
    const Tensor y = norm1->forward(x), seen = y.slice(1, 0, bias.size(-1));
    const Tensor mixed =
        ops::biased_attention(q->forward(y), k->forward(seen), v->forward(seen), heads, bias, /*scale=*/1);
    const Tensor h = o->forward(mixed, x), z = norm2->forward(h);
    return out->forward(Activation{Activation::gelu_tanh}(gate->forward(z)) * in->forward(z), h);
  }

  std::int64_t heads;
  std::shared_ptr<RmsNorm> norm1, norm2;
  std::shared_ptr<Linear> q, k, v, o, gate, in, out;
};

T5::T5(const Weights& w, const T5Config& c) : Module(w), config_(c) {
  const char* embeddings = w.has("shared.weight") ? "shared" : "encoder.embed_tokens";
  tokens_ = add<Embedding>(w, embeddings, c.vocab_size, c.width);
  distances_ = add<Embedding>(w, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", c.buckets, c.heads);
  for (std::int64_t i = 0; i < c.layers; ++i) layers_.push_back(add<Layer>(w, concat("encoder.block.", i), c));
  final_norm_ = add<RmsNorm>(w, "encoder.final_layer_norm", c.width, c.norm_eps);
}

// Half of the buckets are for tokens behind. Of each half, half are for a distance each, the others for distances that
// grow as a power, up to the largest (section 2.1). In float32, as transformers has it: where a bucket begins is a
// matter of rounding.
Tensor T5::position_bias(std::int64_t tokens, const Tensor& ids) const {
  const std::int64_t half = config_.buckets / 2, exact = half / 2;
  const Tensor distance = at::arange(1 - tokens, tokens, ids.options()), length = distance.abs();
  const double octaves = std::log(double(config_.max_distance) / double(exact));
  const Tensor power = (at::log(length.to(at::kFloat) / exact) / octaves * (half - exact)).clamp_min(0).to(at::kLong);
  const Tensor far = (exact + power).clamp_max(half - 1);
  const Tensor bucket = at::where(length < exact, length, far) + (distance > 0).to(at::kLong) * half;
  // Row q of the result begins at the distance -q.
  return distances_->forward(bucket).t().unfold(1, tokens, 1).flip(1).unsqueeze(0).contiguous();
}

Tensor T5::forward(const Tensor& ids, std::optional<std::int64_t> seen) const {
  take_up_device();
  Tensor h = tokens_->forward(ids);
  const Tensor bias = position_bias(ids.size(1), ids).slice(-1, 0, seen);
  for (const auto& layer : layers_) h = layer->forward(h, bias);
  return final_norm_->forward(h);
}

}  // namespace sdgen
