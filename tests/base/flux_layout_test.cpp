// Flux.1, FLUX.2 and Chroma in single files: as transformer_layout_test.cpp has the others.
#include "base/transformer_shapes.h"
#include "formats/companions.h"
#include "formats/text_encoder_files.h"

namespace sdgen {
namespace {

struct FluxShapes {
  std::int64_t in = 64;
  bool guided = true;
  std::string norms = "scale";
};

// Of 2 layers of two streams, and 11 of one.
Shapes flux(const FluxShapes& like = {}) {
  Shapes s;
  const std::int64_t d = 64;
  s["img_in.weight"] = {d, like.in};
  s["txt_in.weight"] = {d, 256};
  s["vector_in.in_layer.weight"] = {d, 64};
  s["final_layer.linear.weight"] = {64, d};
  if (like.guided) s["guidance_in.in_layer.weight"] = {d, 256};
  for (int i = 0; i < 2; ++i) {
    s[concat("double_blocks.", i, ".img_attn.qkv.weight")] = {3 * d, d};
    s[concat("double_blocks.", i, ".img_attn.norm.query_norm.", like.norms)] = {32};
  }
  for (int i = 0; i < 11; ++i) s[concat("single_blocks.", i, ".linear1.weight")] = {7 * d, d};
  return s;
}

TEST_F(TransformerLayout, FluxIsReadOffShapes) {
  const ModelFiles m = open(flux());
  const Json config = m.at("transformer").config.json();
  const Json expected = {{"num_layers", 2},
                         {"num_single_layers", 11},
                         {"in_channels", 64},
                         {"out_channels", 64},
                         {"attention_head_dim", 32},
                         {"num_attention_heads", 2},
                         {"joint_attention_dim", 256},
                         {"pooled_projection_dim", 64},
                         {"guidance_embeds", true},
                         {"axes_dims_rope", {4, 14, 14}}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(config.at(key), value) << key;
  EXPECT_EQ(m.scheduler.boolean("use_dynamic_shifting", false), true);
  EXPECT_EQ(m.scaling.shift, 0.1159);
  const auto kind = [this](const FluxShapes& like) { return open(flux(like)).index.string("_class_name", ""); };
  EXPECT_EQ(kind({}), "FluxPipeline");
  EXPECT_EQ(kind({.in = 128}), "FluxControlPipeline");
  EXPECT_EQ(kind({.in = 384}), "FluxFillPipeline");
  const ModelFiles named =
      open_model(write_table(scratch_, "flux1-Kontext-dev.safetensors", flux()), [](const std::string&) {});
  EXPECT_EQ(named.index.string("_class_name", ""), "FluxKontextPipeline");
  const ModelFiles schnell = open(flux({.guided = false}));
  EXPECT_EQ(schnell.scheduler.boolean("use_dynamic_shifting", true), false);
  EXPECT_EQ(schnell.scheduler.number("shift", 0), 1);
  EXPECT_CONTAINS(schnell.notes.front(), "schnell");
  const std::string missing = message_of(Fault::input, [&] { m.at("text_encoder_2"); });
  EXPECT_CONTAINS(missing, "has no CLIP-L (clip_l.safetensors), and no T5 (t5xxl_fp16.safetensors): name");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { m.at("vae"); }), "ae.safetensors");
}

TEST_F(TransformerLayout, FluxsNamesAreDiffusers) {
  const auto place = [this](const char* norms, const char* own) {
    return open(flux({.norms = norms})).at("transformer").locate(own);
  };
  const auto is = [&](const char* own, const char* file, int part = 0, int parts = 1, int count = 1,
                      bool swapped = false) {
    const Place found = place("scale", own);
    EXPECT_EQ(found.name, file);
    EXPECT_EQ(found.part, part) << own;
    EXPECT_EQ(found.parts, parts) << own;
    EXPECT_EQ(found.count, count) << own;
    EXPECT_EQ(found.swapped, swapped) << own;
  };
  is("x_embedder.bias", "img_in.bias");
  is("time_text_embed.guidance_embedder.linear_2.weight", "guidance_in.out_layer.weight");
  is("transformer_blocks.1.attn.add_v_proj.bias", "double_blocks.1.txt_attn.qkv.bias", 2, 3);
  is("transformer_blocks.1.norm1_context.linear.bias", "double_blocks.1.txt_mod.lin.bias");
  is("transformer_blocks.1.attn.norm_added_k.weight", "double_blocks.1.txt_attn.norm.key_norm.scale");
  is("transformer_blocks.1.ff_context.net.2.weight", "double_blocks.1.txt_mlp.2.weight");
  is("single_transformer_blocks.10.attn.to_v.weight", "single_blocks.10.linear1.weight", 2, 7);
  is("single_transformer_blocks.10.proj_mlp.bias", "single_blocks.10.linear1.bias", 3, 7, 4);
  is("single_transformer_blocks.10.proj_out.weight", "single_blocks.10.linear2.weight");
  is("single_transformer_blocks.10.norm.linear.weight", "single_blocks.10.modulation.lin.weight");
  is("single_transformer_blocks.10.attn.norm_q.weight", "single_blocks.10.norm.query_norm.scale");
  is("norm_out.linear.weight", "final_layer.adaLN_modulation.1.weight", 0, 1, 1, true);
  is("proj_out.weight", "final_layer.linear.weight");
  EXPECT_EQ(place("weight", "single_transformer_blocks.10.attn.norm_q.weight").name,
            "single_blocks.10.norm.query_norm.weight");
}

Shapes flux2(bool guided = false) {
  const std::int64_t d = 64;
  Shapes s{{"img_in.weight", {d, 128}},
           {"txt_in.weight", {d, 768}},
           {"final_layer.linear.weight", {128, d}},
           {"double_stream_modulation_img.lin.weight", {6 * d, d}}};
  if (guided) s["guidance_in.in_layer.weight"] = {d, 256};
  for (int i = 0; i < 2; ++i) {
    s[concat("double_blocks.", i, ".img_attn.norm.query_norm.scale")] = {32};
    s[concat("double_blocks.", i, ".img_mlp.2.weight")] = {d, 3 * d};
  }
  for (int i = 0; i < 3; ++i) s[concat("single_blocks.", i, ".linear1.weight")] = {9 * d, d};
  return s;
}

// Of as many numbers as layers want, with the norms of queries that Qwen3 has.
Shapes language_model(bool normed) {
  Shapes s{{"model.embed_tokens.weight", {100, 256}},
           {"model.layers.0.self_attn.q_proj.weight", {256, 256}},
           {"model.layers.0.self_attn.k_proj.weight", {128, 256}},
           {"model.layers.0.mlp.gate_proj.weight", {512, 256}}};
  if (normed) s["model.layers.0.self_attn.q_norm.weight"] = {128};
  return s;
}

TEST_F(TransformerLayout, OthersPartsAreRefusedByName) {
  const auto with = [this](const Shapes& text) {
    ModelFiles m = open(flux2());
    take_text_encoders(m, {write_table(scratch_, "text.safetensors", text)});
    return m;
  };
  require_companions(open(flux2()));  // what is missing, others say
  require_companions(with(language_model(/*normed=*/true)));
  const std::string other =
      message_of(Fault::input, [&] { require_companions(with(language_model(/*normed=*/false))); });
  for (const char* word :
       {"text.safetensors: is a Qwen2_5_VLForConditionalGeneration, expected Qwen3 (qwen_3_4b",
        "model.safetensors: name it with text_encoders, from split_files/text_encoders/ of huggingface.co/"})
    EXPECT_CONTAINS(other, word);
  const std::string width = wanted_language_model(open(flux2()), 2560);
  EXPECT_CONTAINS(width, "it takes one of 2560, as Qwen3-4B is: name it with ");
  EXPECT_CONTAINS(wanted_language_model(open(flux2()), 256), "it takes one of 256: name");

  Shapes t5;
  t5["encoder.block.0.layer.0.SelfAttention.q.weight"] = {64, 64};
  const std::string kind = message_of(Fault::usage, [&] { with(t5); });
  EXPECT_CONTAINS(kind, "takes none; it takes Qwen3 (qwen_3_4b.safetensors), from split_files/text_encoders/");
}

TEST_F(TransformerLayout, OthersAutoencodersAreRefusedByName) {
  const auto vae = [this](std::int64_t squares) {
    Shapes s{{"decoder.conv_in.weight", {64, 32, 3, 3}}, {"decoder.conv_out.weight", {3, 64, 3, 3}}};
    s["decoder.up.0.block.0.conv1.weight"] = {64, 64, 3, 3};
    if (squares) s["bn.running_mean"] = {squares};
    return open_vae(write_table(scratch_, "vae.safetensors", s), 1);
  };
  const ModelFiles m = open(flux2());
  require_autoencoder(m, vae(128));
  EXPECT_CONTAINS(message_of(Fault::input, [&] { require_autoencoder(m, vae(0)); }),
                  "vae.safetensors: is an AutoencoderKL, expected an AutoencoderKLFlux2 for ");
  require_autoencoder(open(flux()), vae(0));
  EXPECT_CONTAINS(message_of(Fault::input, [&] { require_autoencoder(open(flux()), vae(128)); }),
                  "name ae.safetensors in huggingface.co/black-forest-labs/FLUX.1-schnell, with vae");
}

TEST_F(TransformerLayout, Flux2IsReadOffShapes) {
  const ModelFiles m = open(flux2());
  const Json config = m.at("transformer").config.json();
  const Json expected = {{"num_layers", 2},
                         {"num_single_layers", 3},
                         {"in_channels", 128},
                         {"out_channels", 128},
                         {"attention_head_dim", 32},
                         {"num_attention_heads", 2},
                         {"joint_attention_dim", 768},
                         {"guidance_embeds", false},
                         {"axes_dims_rope", {8, 8, 8, 8}}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(config.at(key), value) << key;
  EXPECT_EQ(config.at("mlp_ratio"), 3);
  EXPECT_TRUE(m.scheduler.boolean("use_dynamic_shifting", false));
  EXPECT_EQ(m.index.string("_class_name", ""), "Flux2KleinPipeline");
  EXPECT_TRUE(m.index.boolean("is_distilled", false));
  const ModelFiles base =
      open_model(write_table(scratch_, "flux-2-klein-Base-4b.safetensors", flux2()), [](const std::string&) {});
  EXPECT_FALSE(base.index.boolean("is_distilled", true));
  EXPECT_EQ(open(flux2(/*guided=*/true)).index.string("_class_name", ""), "Flux2Pipeline");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { m.at("text_encoder"); }), "has no Qwen3 (qwen_3_4b");
  const std::string both = message_of(Fault::input, [&] { m.at("vae"); });
  for (const char* word : {"has no vae: name an autoencoder with vae, from flux2-vae.safetensors in split_files/vae/",
                           "; and no Qwen3 (qwen_3_4b.safetensors): name text encoders with text_encoders, from"})
    EXPECT_CONTAINS(both, word);
  const auto place = [&m](const char* own) { return m.at("transformer").locate(own); };
  EXPECT_EQ(place("transformer_blocks.1.ff.linear_in.weight").name, "double_blocks.1.img_mlp.0.weight");
  EXPECT_EQ(place("transformer_blocks.1.attn.add_k_proj.weight").part, 1);
  EXPECT_EQ(place("single_transformer_blocks.2.attn.to_qkv_mlp_proj.weight").name, "single_blocks.2.linear1.weight");
  EXPECT_EQ(place("single_transformer_blocks.2.attn.norm_k.weight").name, "single_blocks.2.norm.key_norm.scale");
  EXPECT_EQ(place("single_stream_modulation.linear.weight").name, "single_stream_modulation.lin.weight");
  EXPECT_TRUE(place("norm_out.linear.weight").swapped);
}

TEST_F(TransformerLayout, ChromaIsReadOffShapes) {
  Shapes s = flux({.guided = false});
  const std::string moves = "distilled_guidance_layer.";
  s[moves + "in_proj.weight"] = {48, 64};
  for (int i = 0; i < 2; ++i) s[concat(moves, "layers.", i, ".in_layer.weight")] = {48, 48};
  const ModelFiles m = open(s);
  const Json config = m.at("transformer").config.json();
  const Json expected = {{"num_layers", 2},
                         {"num_single_layers", 11},
                         {"in_channels", 64},
                         {"joint_attention_dim", 256},
                         {"approximator_num_channels", 64},
                         {"approximator_hidden_dim", 48},
                         {"approximator_layers", 2},
                         {"axes_dims_rope", {4, 14, 14}}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(config.at(key), value) << key;
  EXPECT_EQ(m.index.string("_class_name", ""), "ChromaPipeline");
  EXPECT_EQ(m.scaling.shift, 0.1159);
  const auto place = [&m](const char* own) { return m.at("transformer").locate(own).name; };
  EXPECT_EQ(place("distilled_guidance_layer.layers.1.linear_2.bias"), moves + "layers.1.out_layer.bias");
  EXPECT_EQ(place("distilled_guidance_layer.norms.1.weight"), moves + "norms.1.scale");
  EXPECT_EQ(place("single_transformer_blocks.1.proj_mlp.weight"), "single_blocks.1.linear1.weight");
}

}  // namespace
}  // namespace sdgen
