#include "formats/decoder_layout.h"

#include <charconv>

#include "formats/transformer_names.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// What comes before "layers": of a model that sees its text part has a name of its own.
constexpr const char* kPrefixes[] = {"", "model.", "model.language_model.", "language_model.model.", "language_model."};
constexpr const char* kTokens = "embed_tokens.weight";
constexpr const char* kGgufBlocks = "blk.";

std::optional<std::string> prefix_of(const TensorTable& table) {
  for (const char* prefix : kPrefixes)
    if (table.find(concat(prefix, kTokens)) || table.find(concat(prefix, "layers.0.self_attn.q_proj.weight")))
      return prefix;
  return std::nullopt;
}

bool is_gguf(const TensorTable& table) {
  return table.find("blk.0.attn_q.weight") || (table.find("token_embd.weight") && table.find("output_norm.weight"));
}

std::set<std::string> unused_in(const TensorTable& table) {
  std::set<std::string> unused;
  for (const auto& [name, entry] : table.tensors())
    for (const char* front : {"lm_head.", "visual.", "model.visual.", "output."})
      if (name.starts_with(front)) unused.insert(name);
  return unused;
}

// A number of the metadata whose key ends so ("rope.freq_base").
double said(const TensorTable& table, const std::string& ending, double fallback) {
  for (const auto& [key, value] : table.files().front()->metadata()) {
    if (!key.ends_with("." + ending)) continue;
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error == std::errc() && end == value.data() + value.size() && number > 0) return number;
  }
  return fallback;
}

// How many heads of so many channels make `rows` rows of a matrix.
std::int64_t heads_in(const Keys& keys, const std::string& name, std::int64_t rows, std::int64_t head) {
  if (head < 1 || rows % head != 0)
    keys.fail(concat("tensor '", name, "' has ", rows, " rows, which are no heads of ", head));
  return rows / head;
}

}  // namespace

bool decoder_in(const TensorTable& table) {
  if (is_gguf(table)) return true;
  const std::optional<std::string> prefix = prefix_of(table);
  return prefix && table.find(concat(*prefix, "layers.0.self_attn.q_proj.weight")) &&
         table.find(concat(*prefix, "layers.0.mlp.gate_proj.weight"));
}

ForeignComponent decoder_text(const TensorTable& table) {
  const bool gguf = is_gguf(table);
  const std::string prefix = gguf ? "" : prefix_of(table).value_or("");
  const Keys keys(table, prefix);
  const Locate own = [prefix](const std::string& name) { return Place(prefix + name); };
  const Locate locate = gguf ? original_names(kGgufDecoderNames, keys) : own;
  const auto at = [&](const std::string& name) { return locate(name).name.substr(prefix.size()); };
  const auto dim = [&](const std::string& name, std::size_t index) { return keys.dim(at(name), index); };
  const std::string layer = "layers.0.", q = layer + "self_attn.q_proj.", k = layer + "self_attn.k_proj.";
  if (keys.has("blk.0.post_ffw_norm.weight"))
    keys.fail("is Gemma 2 in GGUF, whose norms llama.cpp changes: it is not supported; get it as safetensors");
  const bool gemma = keys.has(layer + "pre_feedforward_layernorm.weight"),
             normed = keys.has(at(layer + "self_attn.q_norm.weight"));
  const std::int64_t head = normed ? dim(layer + "self_attn.q_norm.weight", 0) : gemma ? 256 : 128;
  Json json = {{"_class_name", gemma    ? "Gemma2Model"
                               : normed ? "Qwen3Model"
                                        : "Qwen2_5_VLForConditionalGeneration"},
               {"model_type", gemma    ? "gemma2"
                              : normed ? "qwen3"
                                       : "qwen2_5_vl"},
               {"vocab_size", dim(kTokens, 0)},
               {"hidden_size", dim(kTokens, 1)},
               {"intermediate_size", dim(layer + "mlp.gate_proj.weight", 0)},
               {"num_hidden_layers", keys.numbered(gguf ? kGgufBlocks : "layers.")},
               {"num_attention_heads", heads_in(keys, at(q + "weight"), dim(q + "weight", 0), head)},
               {"num_key_value_heads", heads_in(keys, at(k + "weight"), dim(k + "weight", 0), head)},
               {"head_dim", head},
               {"attention_bias", normed && keys.has(at(q + "bias"))},
               {"rms_norm_eps", said(table, "attention.layer_norm_rms_epsilon", 1e-6)},
               {"rope_theta", said(table, "rope.freq_base", gemma ? 1e4 : 1e6)}};
  return {Config(std::move(json), keys.source() + ": language model"), locate, prefix, unused_in(table)};
}

void find_text_model(Component& c) {
  if (const std::optional<std::string> prefix = prefix_of(*c.tensors))
    c.locate = [outer = *prefix](const std::string& name) { return Place(outer + name); };
  c.unused.merge(unused_in(*c.tensors));
}

}  // namespace sdgen
