#include "formats/text_layout.h"

#include <algorithm>

#include "formats/components.h"
#include "formats/transformer_names.h"
#include "formats/unet_walk.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// transformers' name of a text encoder tensor -> where OpenCLIP has it.
Place open_clip_place(std::string name) {
  replace_one(name, {{"text_model.", ""}});
  if (name == kProjection) return {"text_projection", 0, 1, /*transposed=*/true};  // used as x @ W
  if (name == "embeddings.position_embedding.weight") return {"positional_embedding"};
  for (int part = 0; const char* which : {".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."}) {
    if (const auto at = name.find(which); at != std::string::npos) {
      const std::string layer = name.substr(0, at), leaf = name.substr(at + std::string_view(which).size());
      return {"transformer.resblocks" + layer.substr(layer.rfind('.')) + ".attn.in_proj_" + leaf, part, 3};
    }
    ++part;
  }
  replace_one(name, {{"embeddings.token_embedding", "token_embedding"},
                     {"final_layer_norm", "ln_final"},
                     {"encoder.layers", "transformer.resblocks"}});
  replace_one(name, {{".layer_norm1.", ".ln_1."},
                     {".layer_norm2.", ".ln_2."},
                     {".self_attn.out_proj.", ".attn.out_proj."},
                     {".mlp.fc1.", ".mlp.c_fc."},
                     {".mlp.fc2.", ".mlp.c_proj."}});
  return name;
}

Json text_config(const Keys& keys, const std::string& tokens, const std::string& positions, const std::string& inner,
                 std::int64_t layers, const char* act) {
  const std::int64_t width = keys.dim(tokens, 1);
  return {{"vocab_size", keys.dim(tokens, 0)},
          {"hidden_size", width},
          {"projection_dim", width},  // where nothing is projected
          {"intermediate_size", keys.dim(inner, 0)},
          {"num_hidden_layers", layers},
          {"num_attention_heads", std::max<std::int64_t>(width / kHeadWidth, 1)},
          {"max_position_embeddings", keys.dim(positions, 0)},
          {"hidden_act", act},
          {"eos_token_id", 49407}};
}

}  // namespace

bool clip_in(const TensorTable& table, const std::string& prefix) {
  const Keys keys(table, prefix);
  return keys.any("text_model.") || keys.any("embeddings.") || keys.any("encoder.layers.");
}

bool open_clip_in(const TensorTable& table, const std::string& prefix) {
  const Keys keys(table, prefix);
  return keys.any("transformer.resblocks.") || keys.has("ln_final.weight");
}

bool t5_in(const TensorTable& table, const std::string& prefix) {
  const Keys keys(table, prefix);
  return keys.any("encoder.block.") || keys.any("enc.blk.");
}

ForeignComponent clip_text(const TensorTable& table, const std::string& prefix, ClipUse use) {
  const Keys keys(table, prefix);
  const std::string in = keys.any("text_model.") ? "text_model." : "";
  const bool projected = use == ClipUse::projected;
  Json json = text_config(keys, in + "embeddings.token_embedding.weight", in + "embeddings.position_embedding.weight",
                          in + "encoder.layers.0.mlp.fc1.weight",
                          keys.count(in + "encoder.layers.", ".layer_norm1.weight"), projected ? "gelu" : "quick_gelu");
  if (projected) json["projection_dim"] = keys.dim(kProjection, 0);
  return {Config(std::move(json), keys.source() + ": text encoder"),
          [prefix](const std::string& name) { return Place(prefix + name); }, prefix};
}

ForeignComponent open_clip_text(const TensorTable& table, const std::string& prefix, Use use) {
  const Keys keys(table, prefix);
  constexpr std::int64_t kLayersOfVitH = 24;
  std::int64_t layers = keys.count("transformer.resblocks.", ".ln_1.weight");
  if (use == Use::all_but_the_last_layer && layers != kLayersOfVitH - 1) --layers;
  Json json = text_config(keys, "token_embedding.weight", "positional_embedding",
                          "transformer.resblocks.0.mlp.c_fc.weight", layers, "gelu");
  const bool linear = keys.has(kProjection);  // some writers turned it into a Linear
  if (linear) json["projection_dim"] = keys.dim(kProjection, 0);
  if (use == Use::all && !linear) json["projection_dim"] = keys.dim("text_projection", 1);
  const Locate locate = [prefix, linear](const std::string& name) {
    if (linear && name == kProjection) return Place(prefix + name);
    Place place = open_clip_place(name);
    place.name = prefix + place.name;
    return place;
  };
  return {Config(std::move(json), keys.source() + ": text encoder"), locate, prefix};
}

ForeignComponent t5_text(const TensorTable& table, const std::string& prefix) {
  const Keys keys(table, prefix);
  const Locate own = [prefix](const std::string& name) { return Place(prefix + name); };
  const bool gguf = keys.any("enc.blk.");
  const Locate locate = gguf ? original_names(kGgufT5Names, keys) : own;
  const std::string attention = "encoder.block.0.layer.0.SelfAttention.",
                    network = "encoder.block.0.layer.1.DenseReluDense.";
  if (keys.has(network + "wi.weight"))
    keys.fail(concat("'", prefix, network, "wi.weight' is of T5's first version, which is not supported (1.1 is)"));
  const auto at = [&](const std::string& name) { return locate(name).name.substr(prefix.size()); };
  const auto dim = [&](const std::string& name, std::size_t index) { return keys.dim(at(name), index); };
  const std::string bias = attention + "relative_attention_bias.weight", q = attention + "q.weight",
                    tokens = keys.has(at("shared.weight")) ? "shared.weight" : "encoder.embed_tokens.weight";
  const std::int64_t heads = dim(bias, 1), inner = dim(q, 0);
  if (heads <= 0 || inner % heads != 0)
    keys.fail(concat("tensor '", prefix, at(q), "' has ", inner, " rows, which are not ", heads, " equal heads, as '",
                     at(bias), "' says: they belong to different models"));
  Json json = {{"_class_name", "T5EncoderModel"},
               {"vocab_size", dim(tokens, 0)},
               {"d_model", dim(tokens, 1)},
               {"d_kv", inner / heads},
               {"d_ff", dim(network + "wi_0.weight", 0)},
               {"num_layers", keys.numbered(gguf ? "enc.blk." : "encoder.block.")},
               {"num_heads", heads},
               {"relative_attention_num_buckets", dim(bias, 0)},
               {"relative_attention_max_distance", 128},
               {"feed_forward_proj", "gated-gelu"}};
  return {Config(std::move(json), keys.source() + ": T5"), locate, prefix};
}

}  // namespace sdgen
