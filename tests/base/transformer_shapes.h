// Names and shapes of small diffusion transformers and text encoders, as their makers' files have them; and such files,
// opened.
#pragma once

#include <gtest/gtest.h>

#include "base/tables.h"
#include "formats/model_files.h"

namespace sdgen {

struct Sd3Shapes {
  std::string prefix = {};
  int blocks = 3, dual = 0;  // the first of them have a second attention
  bool normed = false;
  std::int64_t width = 128, context = 256, pooled = 160, table = 16;
};

inline Shapes sd3_shapes(const Sd3Shapes& like = {}) {
  Shapes s;
  const std::int64_t d = like.width;
  const auto linear = [&s, &like](const std::string& name, std::int64_t out, std::int64_t in) {
    s[like.prefix + name + ".weight"] = {out, in};
    s[like.prefix + name + ".bias"] = {out};
  };
  s[like.prefix + "x_embedder.proj.weight"] = {d, 16, 2, 2};
  s[like.prefix + "x_embedder.proj.bias"] = {d};
  s[like.prefix + "pos_embed"] = {1, like.table * like.table, d};
  linear("t_embedder.mlp.0", d, 256), linear("t_embedder.mlp.2", d, d);
  linear("y_embedder.mlp.0", d, like.pooled), linear("y_embedder.mlp.2", d, d);
  linear("context_embedder", d, like.context);
  linear("final_layer.linear", 64, d), linear("final_layer.adaLN_modulation.1", 2 * d, d);
  for (int i = 0; i < like.blocks; ++i) {
    const bool last = i + 1 == like.blocks, dual = i < like.dual;
    for (const std::string stream : {"x_block", "context_block"}) {
      const bool ends = last && stream != "x_block";
      const std::string block = concat("joint_blocks.", i, ".", stream, ".");
      linear(block + "adaLN_modulation.1", (ends ? 2 : dual && stream == "x_block" ? 9 : 6) * d, d);
      std::vector<std::string> attentions{"attn"};
      if (dual && stream == "x_block") attentions.emplace_back("attn2");
      for (const std::string& attention : attentions) {
        linear(block + attention + ".qkv", 3 * d, d);
        if (!ends) linear(block + attention + ".proj", d, d);
        if (like.normed)
          for (const char* norm : {".ln_q.weight", ".ln_k.weight"}) s[like.prefix + block + attention + norm] = {64};
      }
      if (!ends) linear(block + "mlp.fc1", 4 * d, d), linear(block + "mlp.fc2", d, 4 * d);
    }
  }
  return s;
}

inline void add_clip(Shapes& s, const std::string& prefix, std::int64_t width, std::int64_t projection = 0) {
  s[prefix + "text_model.embeddings.token_embedding.weight"] = {100, width};
  s[prefix + "text_model.embeddings.position_embedding.weight"] = {77, width};
  s[prefix + "text_model.final_layer_norm.weight"] = {width};
  for (int i = 0; i < 2; ++i) s[concat(prefix, "text_model.encoder.layers.", i, ".layer_norm1.weight")] = {width};
  s[prefix + "text_model.encoder.layers.0.mlp.fc1.weight"] = {2 * width, width};
  if (projection > 0) s[prefix + "text_projection.weight"] = {projection, width};
}

inline void add_t5(Shapes& s, const std::string& prefix, std::int64_t width) {
  s[prefix + "shared.weight"] = {200, width};
  for (int i = 0; i < 2; ++i) {
    const std::string block = concat(prefix, "encoder.block.", i, ".layer.");
    for (const char* name : {"q", "k", "v"}) s[concat(block, "0.SelfAttention.", name, ".weight")] = {48, width};
    s[block + "0.SelfAttention.o.weight"] = {width, 48};
    for (const char* name : {"wi_0", "wi_1"}) s[concat(block, "1.DenseReluDense.", name, ".weight")] = {96, width};
    s[block + "1.DenseReluDense.wo.weight"] = {width, 96};
    s[block + "0.layer_norm.weight"] = s[block + "1.layer_norm.weight"] = {width};
  }
  s[prefix + "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = {32, 6};
  s[prefix + "encoder.final_layer_norm.weight"] = {width};
}

class TransformerLayout : public testing::Test {
 protected:
  ModelFiles open(const Shapes& shapes, const std::map<std::string, std::string>& metadata = {}) {
    warnings.clear();
    return open_model(write_table(scratch_, "model.safetensors", shapes, metadata),
                      [this](const std::string& text) { warnings.push_back(text); });
  }
  std::string refusal(const Shapes& shapes) {
    return message_of(Fault::input, [&] { open(shapes); });
  }
  std::vector<std::string> warnings;
  Scratch scratch_;
};

}  // namespace sdgen
