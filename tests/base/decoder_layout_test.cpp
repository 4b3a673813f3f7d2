// Decoder language models in files: what is read off names and shapes, and what GGUF says.
#include "formats/decoder_layout.h"

#include <gtest/gtest.h>

#include "base/transformer_shapes.h"
#include "formats/qwen_layout.h"
#include "formats/text_encoder_files.h"
#include "formats/tokenizers.h"

namespace sdgen {
namespace {

enum class Model { qwen3, qwen2_5, gemma2 };

// Two layers, two heads of queries to one of keys and values.
Shapes decoder_shapes(Model model, const std::string& prefix) {
  const std::int64_t head = model == Model::qwen3 ? 16 : model == Model::gemma2 ? 256 : 128;
  Shapes s;
  s[prefix + "embed_tokens.weight"] = {300, 24};
  s[prefix + "norm.weight"] = {24};
  for (int i = 0; i < 2; ++i) {
    const std::string layer = concat(prefix, "layers.", i, '.');
    s[layer + "self_attn.q_proj.weight"] = {2 * head, 24};
    s[layer + "self_attn.k_proj.weight"] = s[layer + "self_attn.v_proj.weight"] = {head, 24};
    s[layer + "self_attn.o_proj.weight"] = {24, 2 * head};
    for (const char* name : {"gate_proj", "up_proj"}) s[concat(layer, "mlp.", name, ".weight")] = {40, 24};
    s[layer + "mlp.down_proj.weight"] = {24, 40};
    for (const char* name : {"input_layernorm", "post_attention_layernorm"}) s[concat(layer, name, ".weight")] = {24};
    if (model == Model::qwen3) s[layer + "self_attn.q_norm.weight"] = s[layer + "self_attn.k_norm.weight"] = {head};
    if (model == Model::qwen2_5) s[layer + "self_attn.q_proj.bias"] = {2 * head};
    if (model == Model::gemma2)
      for (const char* name : {"pre_feedforward_layernorm", "post_feedforward_layernorm"})
        s[concat(layer, name, ".weight")] = {24};
  }
  return s;
}

class DecoderLayout : public testing::Test {
 protected:
  std::shared_ptr<const TensorTable> table(const Shapes& shapes) {
    return open_single_file(write_table(scratch_, "text.safetensors", shapes));
  }
  Scratch scratch_;
};

TEST_F(DecoderLayout, StructureIsReadOffShapes) {
  for (const auto& [model, type, head] :
       {std::tuple{Model::qwen3, "qwen3", 16}, {Model::qwen2_5, "qwen2_5_vl", 128}, {Model::gemma2, "gemma2", 256}})
    for (const char* prefix : {"", "model.", "model.language_model."}) {
      Shapes shapes = decoder_shapes(model, prefix);
      shapes["lm_head.weight"] = {300, 24};
      shapes["visual.merger.mlp.0.weight"] = {8, 8};
      const std::optional<Component> c = text_encoder_of(table(shapes));
      ASSERT_TRUE(c) << type << prefix;
      EXPECT_EQ(c->type->architecture, Architecture::decoder_text);
      const Json expected = {{"model_type", type},       {"vocab_size", 300},      {"hidden_size", 24},
                             {"intermediate_size", 40},  {"num_hidden_layers", 2}, {"num_attention_heads", 2},
                             {"num_key_value_heads", 1}, {"head_dim", head},       {"attention_bias", false}};
      for (const auto& [key, value] : expected.items()) EXPECT_EQ(c->config.json().at(key), value) << type << key;
      EXPECT_EQ(c->config.number("rope_theta", 0), model == Model::gemma2 ? 1e4 : 1e6);
      EXPECT_EQ(c->locate("layers.1.mlp.up_proj.weight").name, concat(prefix, "layers.1.mlp.up_proj.weight"));
      EXPECT_EQ(c->unused, (std::set<std::string>{"lm_head.weight", "visual.merger.mlp.0.weight"}));
    }
}

TEST_F(DecoderLayout, GgufsNamesAreLlamaCpps) {
  Shapes s;
  s["token_embd.weight"] = {300, 24};
  s["output_norm.weight"] = {24};
  for (const char* name : {"attn_q", "attn_output", "ffn_gate"}) s[concat("blk.0.", name, ".weight")] = {32, 24};
  s["blk.0.attn_k.weight"] = {16, 24};
  s["blk.0.attn_q_norm.weight"] = {16};
  const ForeignComponent c = decoder_text(*table(s));
  EXPECT_EQ(c.config.json().at("model_type"), "qwen3");
  EXPECT_EQ(c.config.json().at("num_attention_heads"), 2);
  for (const auto& [own, file] : {std::pair{"embed_tokens.weight", "token_embd.weight"},
                                  {"norm.weight", "output_norm.weight"},
                                  {"layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight"},
                                  {"layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"},
                                  {"layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"},
                                  {"layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"},
                                  {"layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"}})
    EXPECT_EQ(c.locate(own).name, file);
  s["blk.0.post_ffw_norm.weight"] = {24};
  EXPECT_CONTAINS(message_of(Fault::input, [&] { decoder_text(*table(s)); }), "Gemma 2 in GGUF");
}

TEST_F(DecoderLayout, HeadsThatDoNotDivideAreRefused) {
  Shapes s = decoder_shapes(Model::qwen3, "");
  s["layers.0.self_attn.q_proj.weight"] = {30, 24};
  EXPECT_CONTAINS(message_of(Fault::input, [&] { decoder_text(*table(s)); }),
                  "'layers.0.self_attn.q_proj.weight' has 30 rows, which are no heads of 16");
}

TEST_F(DecoderLayout, AMissingVocabularyIsToldWithWhereItIsLookedFor) {
  for (const auto& [model, called] : {std::pair{Model::qwen3, "Qwen's"}, {Model::gemma2, "Gemma's"}}) {
    const std::optional<Component> c = text_encoder_of(table(decoder_shapes(model, "")));
    const std::string text = message_of(Fault::input, [&] { tokenizer_of(*c); });
    EXPECT_CONTAINS(text, concat(called, " vocabulary is missing"));
    EXPECT_CONTAINS(text, "tokenizer.json of huggingface.co/");
  }
}

// Of three levels with two resnets in the decoder, in the names of Wan's autoencoder.
TEST_F(DecoderLayout, QwenImagesAutoencoderHasWansNames) {
  Shapes s;
  s["conv2.weight"] = {16, 16, 1, 1, 1};
  s["decoder.conv1.weight"] = {24, 16, 3, 3, 3};
  s["decoder.middle.0.residual.0.gamma"] = {24, 1, 1, 1};
  s["decoder.head.2.weight"] = {3, 8, 3, 3, 3};
  for (const auto& [layer, channels] : {std::pair{0, 24}, {1, 24}, {3, 16}, {4, 16}, {6, 8}, {7, 8}})
    s[concat("decoder.upsamples.", layer, ".residual.2.weight")] = {channels, 8, 3, 3, 3};
  s["decoder.upsamples.2.resample.1.weight"] = {12, 24, 3, 3};
  s["decoder.upsamples.2.time_conv.weight"] = {48, 24, 3, 1, 1};
  s["decoder.upsamples.5.resample.1.weight"] = {8, 16, 3, 3};
  const std::optional<ForeignComponent> c = qwen_autoencoder(*table(s));
  ASSERT_TRUE(c);
  const Json expected = {{"base_dim", 8}, {"z_dim", 16}, {"dim_mult", {1, 2, 3}}, {"num_res_blocks", 1}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(c->config.json().at(key), value) << key;
  EXPECT_EQ(c->config.numbers("latents_std").size(), 16u);
  EXPECT_EQ(c->unused, (std::set<std::string>{"decoder.upsamples.2.time_conv.weight"}));
  for (const auto& [own, file] :
       {std::pair{"quant_conv.weight", "conv1.weight"},
        {"post_quant_conv.bias", "conv2.bias"},
        {"encoder.conv_in.weight", "encoder.conv1.weight"},
        {"encoder.down_blocks.4.conv1.bias", "encoder.downsamples.4.residual.2.bias"},
        {"encoder.down_blocks.5.resample.1.weight", "encoder.downsamples.5.resample.1.weight"},
        {"encoder.mid_block.attentions.0.norm.gamma", "encoder.middle.1.norm.gamma"},
        {"encoder.norm_out.gamma", "encoder.head.0.gamma"},
        {"decoder.conv_in.bias", "decoder.conv1.bias"},
        {"decoder.mid_block.resnets.1.norm2.gamma", "decoder.middle.2.residual.3.gamma"},
        {"decoder.up_blocks.0.resnets.1.conv2.weight", "decoder.upsamples.1.residual.6.weight"},
        {"decoder.up_blocks.1.upsamplers.0.resample.1.bias", "decoder.upsamples.5.resample.1.bias"},
        {"decoder.up_blocks.2.resnets.0.conv_shortcut.weight", "decoder.upsamples.6.shortcut.weight"},
        {"decoder.conv_out.weight", "decoder.head.2.weight"}})
    EXPECT_EQ(c->locate(own).name, file);
}

}  // namespace
}  // namespace sdgen
