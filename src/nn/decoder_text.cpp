#include "nn/decoder_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::int64_t kLongestPrompt = 2048;  // tokens, of any family

// The keys of the text model: config.json's own, or those of "text_config".
Config text_config(const Config& json) {
  if (!json.has("text_config")) return json;
  const Json& text = json.json().at("text_config");
  if (!text.is_object()) json.unsupported("text_config", "expected an object");
  return {text, json.who() + ": text_config"};
}

// How fast positions turn: "rope_theta", since transformers 5 within "rope_parameters". Positions of pictures
// ("mrope") are those of a text where there are no pictures.
double rope_theta(const Config& json, double fallback) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!json.has(key)) continue;
    if (!json.json().at(key).is_object()) json.unsupported(key, "expected an object");
    const Config rope(json.json().at(key), concat(json.who(), ": ", key));
    for (const char* name : {"rope_type", "type"}) {
      const std::string type = rope.string(name, "default");
      if (type != "default" && type != "mrope") rope.unsupported(name, "default is");
    }
    fallback = rope.positive("rope_theta", fallback);
  }
  return json.positive("rope_theta", fallback);
}

// Layers that do not see all that is before them: no prompt is so long.
void require_wide_windows(const Config& json, std::int64_t fallback) {
  if (json.integer("sliding_window", fallback) < kLongestPrompt)
    json.unsupported("sliding_window", concat("expected at least ", kLongestPrompt, ", or none"));
}

void read_sizes(DecoderTextConfig& c, const Config& json) {
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 100'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.vocab_size = size("vocab_size", c.vocab_size);
  c.width = size("hidden_size", c.width);
  c.inner_width = size("intermediate_size", c.inner_width);
  c.layers = size("num_hidden_layers", c.layers, 1000);
  c.heads = size("num_attention_heads", c.heads, 100'000);
  c.kv_heads = size("num_key_value_heads", c.kv_heads, 100'000);
  if (c.heads % c.kv_heads != 0)
    json.unsupported("num_key_value_heads", concat("expected a divisor of num_attention_heads, ", c.heads));
  c.norm_eps = json.positive("rms_norm_eps", c.norm_eps);
  c.rope_theta = rope_theta(json, c.rope_theta);
}

void read_head_width(DecoderTextConfig& c, const Config& json) {
  c.head_width = config_size(json, "head_dim", c.head_width, 100'000);
  if (c.head_width % 2 != 0) json.unsupported("head_dim", "expected an even number: pairs of numbers are turned");
}

DecoderTextConfig qwen3(const Config& json) {
  DecoderTextConfig c;
  read_sizes(c, json);
  read_head_width(c, json);
  c.qkv_bias = c.out_bias = json.boolean("attention_bias", false);
  c.head_norms = true;
  json.require("hidden_act", "silu");
  if (json.boolean("use_sliding_window", false)) require_wide_windows(json, 4096);
  return c;
}

DecoderTextConfig qwen2_5(const Config& json) {
  DecoderTextConfig c{.vocab_size = 152064,
                      .width = 8192,
                      .inner_width = 29568,
                      .layers = 80,
                      .heads = 64,
                      .kv_heads = 8,
                      .norm_eps = 1e-5,
                      .rope_theta = 1e6};
  read_sizes(c, json);
  c.head_width = c.width / c.heads;
  if (c.width % c.heads != 0 || c.head_width % 2 != 0)
    json.unsupported("num_attention_heads", concat("expected heads of an even number of the ", c.width, " numbers"));
  c.qkv_bias = true;
  json.require("hidden_act", "silu");
  if (json.boolean("use_sliding_window", false)) require_wide_windows(json, 4096);
  return c;
}

DecoderTextConfig gemma2(const Config& json) {
  DecoderTextConfig c{.vocab_size = 256000,
                      .width = 2304,
                      .inner_width = 9216,
                      .layers = 26,
                      .heads = 8,
                      .kv_heads = 4,
                      .head_width = 256};
  read_sizes(c, json);
  read_head_width(c, json);
  c.score_scale = 1 / std::sqrt(json.positive("query_pre_attn_scalar", 256));
  c.score_cap = json.positive("attn_logit_softcapping", 50);
  c.act = {Activation::gelu_tanh};
  c.qkv_bias = c.out_bias = json.boolean("attention_bias", false);
  c.centred_norms = c.norms_after = c.scaled_embeddings = true;
  json.require("hidden_activation", "gelu_pytorch_tanh");
  json.require("use_bidirectional_attention", false);
  require_wide_windows(json, 4096);
  return c;
}

// Two halves of a head's numbers are the parts of complex ones, each turned by its token's angle (Su et al., 2021).
struct Turns {
  Tensor cos, sin;  // [N, 1, head_width/2]

  // [1, N, heads, head_width] -> the like
  Tensor operator()(const Tensor& x) const {
    const auto halves = x.chunk(2, -1);
    return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
  }
};

// Of the places 0, 1, ...; angles in float32, as transformers has them.
Turns turns_of(std::int64_t tokens, const DecoderTextConfig& c, const Tensor& like) {
  const auto options = like.options().dtype(at::kFloat);
  const Tensor powers = at::arange(0, c.head_width, 2, options) / c.head_width;
  const Tensor frequencies = 1 / at::pow(at::Scalar(c.rope_theta), powers);
  const Tensor angles = at::arange(tokens, options).unsqueeze(-1) * frequencies;
  return {at::cos(angles).unsqueeze(1).to(like.scalar_type()), at::sin(angles).unsqueeze(1).to(like.scalar_type())};
}

// softmax(cap tanh(scale q k^T / cap)) v, position i sees positions <= i; heads apart [1, heads, N or M, width]. The
// softmax in float32.
Tensor capped_attention(const Tensor& q, const Tensor& k, const Tensor& v, double scale, double cap) {
  const Tensor scores = at::tanh(at::matmul(q, k.transpose(-2, -1)) * (scale / cap)) * cap;
  const Tensor hidden = at::ones({q.size(2), k.size(2)}, q.options().dtype(at::kBool)).triu(1);
  const Tensor seen = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(seen, -1, at::kFloat).to(v.scalar_type()), v);
}

}  // namespace

DecoderTextConfig DecoderTextConfig::from(const Config& json) {
  const Config text = text_config(json);
  const std::string type = json.string("model_type", "");
  const bool qwen2 = type == "qwen2_5_vl", gemma = type == "gemma2";
  if (!qwen2 && !gemma && type != "qwen3") json.unsupported("model_type", "qwen3, qwen2_5_vl and gemma2 are");
  DecoderTextConfig c = qwen2 ? qwen2_5(text) : gemma ? gemma2(text) : qwen3(text);
  if (c.score_scale == 0) c.score_scale = 1 / std::sqrt(double(c.head_width));
  c.hidden = {c.layers};
  return c;
}

DecoderTextConfig DecoderTextConfig::giving(const std::vector<std::int64_t>& states, const std::string& who) const {
  DecoderTextConfig c = *this;
  c.hidden.clear();
  for (const std::int64_t state : states) {
    const std::int64_t from_start = state < 0 ? layers + 1 + state : state;
    if (from_start < 0 || from_start > layers)
      throw Error(Fault::input,
                  concat(who, ": the model is told the hidden state ", state, " of its text encoder, which has ",
                         layers, " layers: they belong to different models"));
    c.hidden.push_back(from_start);
  }
  return c;
}

// x / sqrt(mean of its squares) * weight, in float32 where the weight is kept less 1: it does not fit into bfloat16.
struct DecoderText::Norm : Module {
  Norm(const Weights& w, std::int64_t width, const DecoderTextConfig& c)
      : eps(c.norm_eps), centred(c.centred_norms), weight(param(w, "weight", {width})) {}
  Tensor forward(const Tensor& x) const {
    const Tensor own = fetched(weight, x);
    if (!centred) return ops::rms_norm(x, own, eps);
    return ops::rms_norm(x.to(at::kFloat), own.to(at::kFloat) + 1, eps).to(x.scalar_type());
  }
  double eps;
  bool centred;
  Tensor weight;
};

struct DecoderText::Attention : Module {
  Attention(const Weights& w, const DecoderTextConfig& c) : c(c) {
    const std::int64_t inner = c.heads * c.head_width, shared = c.kv_heads * c.head_width;
    q = add<Linear>(w, "q_proj", c.width, inner, c.qkv_bias);
    k = add<Linear>(w, "k_proj", c.width, shared, c.qkv_bias);
    v = add<Linear>(w, "v_proj", c.width, shared, c.qkv_bias);
    out = add<Linear>(w, "o_proj", inner, c.width, c.out_bias);
    if (!c.head_norms) return;
    norm_q = add<Norm>(w, "q_norm", c.head_width, c);
    norm_k = add<Norm>(w, "k_norm", c.head_width, c);
  }

  // x [1, N, width] -> the like, plus a tensor of that shape, where it is defined.
  Tensor forward(const Tensor& x, const Turns& turns, std::int64_t counted, const Tensor& plus) const {
    const auto heads_of = [&](const Linear& layer) { return layer.forward(x).unflatten(-1, {-1, c.head_width}); };
    const auto normed = [](const std::shared_ptr<Norm>& norm, const Tensor& y) { return norm ? norm->forward(y) : y; };
    // For every head those of its group, of the tokens that count: [1, counted, heads, head_width].
    const auto shared = [&](const Tensor& y) {
      return y.slice(1, 0, counted).repeat_interleave(c.heads / c.kv_heads, 2);
    };
    const Tensor queries = turns(normed(norm_q, heads_of(*q))), keys = shared(turns(normed(norm_k, heads_of(*k)))),
                 values = shared(heads_of(*v));
    return out->forward(attended(queries, keys, values), plus);
  }

 private:
  Tensor attended(const Tensor& queries, const Tensor& keys, const Tensor& values) const {
    if (c.score_cap > 0)
      return capped_attention(queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), c.score_scale,
                              c.score_cap)
          .transpose(1, 2)
          .flatten(-2);
    return ops::attention(queries.flatten(-2), keys.flatten(-2), values.flatten(-2), c.heads, /*causal=*/true);
  }

  DecoderTextConfig c;
  std::shared_ptr<Linear> q, k, v, out;
  std::shared_ptr<Norm> norm_q, norm_k;
};

// Attention and a gated network (Shazeer, 2020), each with a norm before it, and a residual.
struct DecoderText::Layer : Module {
  Layer(const Weights& w, const DecoderTextConfig& c) : act(c.act) {
    const auto norm = [&](const char* name) { return add<Norm>(w, name, c.width, c); };
    attention = add<Attention>(w, "self_attn", c);
    gate = add<Linear>(w, "mlp.gate_proj", c.width, c.inner_width, /*with_bias=*/false);
    up = add<Linear>(w, "mlp.up_proj", c.width, c.inner_width, /*with_bias=*/false);
    down = add<Linear>(w, "mlp.down_proj", c.inner_width, c.width, /*with_bias=*/false);
    before_attention = norm("input_layernorm");
    if (c.norms_after)
      after_attention = norm("post_attention_layernorm"), after_network = norm("post_feedforward_layernorm");
    before_network = norm(c.norms_after ? "pre_feedforward_layernorm" : "post_attention_layernorm");
  }

  Tensor forward(const Tensor& x, const Turns& turns, std::int64_t counted) const {
    // What a branch gives is added to its input at once, unless a norm comes in between.
    const auto added = [](const Tensor& input, const std::shared_ptr<Norm>& norm, const auto& branch) {
      return norm ? input + norm->forward(branch(Tensor())) : branch(input);
    };
    const Tensor seen = before_attention->forward(x);
    const Tensor h =
        added(x, after_attention, [&](const Tensor& plus) { return attention->forward(seen, turns, counted, plus); });
    const Tensor y = before_network->forward(h);
    return added(h, after_network,
                 [&](const Tensor& plus) { return down->forward(act(gate->forward(y)) * up->forward(y), plus); });
  }

  Activation act;
  std::shared_ptr<Attention> attention;
  std::shared_ptr<Linear> gate, up, down;
  std::shared_ptr<Norm> before_attention, after_attention, before_network, after_network;
};

DecoderText::DecoderText(const Weights& w, const DecoderTextConfig& c) : Module(w), config_(c), dtype_(w.dtype()) {
  tokens_ = add<Embedding>(w, "embed_tokens", c.vocab_size, c.width);
  const std::int64_t last = *std::ranges::max_element(c.hidden);
  for (std::int64_t i = 0; i < last; ++i) layers_.push_back(add<Layer>(w, concat("layers.", i), c));
  if (last == c.layers) norm_ = add<Norm>(w, "norm", c.width, c);
}

Tensor DecoderText::forward(const Tensor& ids, std::int64_t counted) const {
  take_up_device();
  Tensor h = tokens_->forward(ids);
  // In the network's type, as transformers has it.
  if (config_.scaled_embeddings) h = h * at::tensor(std::sqrt(double(config_.width)), h.options());
  const Turns turns = turns_of(ids.size(1), config_, h);
  std::vector<Tensor> wanted(config_.hidden.size());
  const auto take = [&](std::int64_t number) {
    for (std::size_t i = 0; i < wanted.size(); ++i)
      if (config_.hidden[i] == number) wanted[i] = h;
  };
  take(0);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    h = layers_[i]->forward(h, turns, counted);
    if (norm_ && i + 1 == layers_.size()) h = norm_->forward(h);
    take(std::int64_t(i) + 1);
  }
  return wanted.size() == 1 ? wanted[0] : at::cat(wanted, -1);
}

}  // namespace sdgen
