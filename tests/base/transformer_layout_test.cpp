// Diffusion transformers in single files: what is read off names and shapes, and what is decided. That the networks
// then give diffusers' pictures is tools/parity.py's to show.
#include "formats/transformer_layout.h"

#include <gtest/gtest.h>

#include "base/transformer_shapes.h"
#include "formats/companions.h"
#include "formats/model_files.h"
#include "formats/text_encoder_files.h"
#include "formats/tokenizers.h"

namespace sdgen {
namespace {

const std::string kPrefix = "model.diffusion_model.";

TEST_F(TransformerLayout, StableDiffusion3sStructureIsReadOffShapes) {
  for (const std::string& prefix : {kPrefix, std::string()}) {
    const ModelFiles m = open(sd3_shapes({.prefix = prefix}));
    EXPECT_EQ(m.index.string("_class_name", ""), "StableDiffusion3Pipeline");
    EXPECT_EQ(m.scheduler.string("_class_name", ""), "FlowMatchEulerDiscreteScheduler");
    EXPECT_EQ(m.scheduler.number("shift", 0), 3);
    const Component& c = m.at("transformer");
    EXPECT_EQ(c.type->architecture, Architecture::sd3_transformer);
    EXPECT_EQ(c.prefix, prefix);
    const Json& config = c.config.json();
    const Json expected = {{"patch_size", 2},
                           {"in_channels", 16},
                           {"out_channels", 16},
                           {"num_layers", 3},
                           {"attention_head_dim", 64},
                           {"num_attention_heads", 2},
                           {"sample_size", 128},
                           {"joint_attention_dim", 256},
                           {"pos_embed_max_size", 16},
                           {"pooled_projection_dim", 160},
                           {"qk_norm", nullptr},
                           {"dual_attention_layers", Json::array()},
                           {"caption_projection_dim", 128}};
    for (const auto& [key, value] : expected.items()) EXPECT_EQ(config.at(key), value) << key;
    EXPECT_TRUE(warnings.empty());
    ASSERT_FALSE(m.notes.empty());
  }
  const Json medium = open(sd3_shapes({.dual = 2, .normed = true})).at("transformer").config.json();
  EXPECT_EQ(medium.at("qk_norm"), "rms_norm");
  EXPECT_EQ(medium.at("dual_attention_layers"), (Json{0, 1}));
  EXPECT_CONTAINS(open(sd3_shapes({.normed = true})).notes.back(), "turbo");
  const ModelFiles said = open(sd3_shapes(), {{"modelspec.resolution", "512x768"}});
  EXPECT_EQ(said.said.back().json(), (Json{{"width", 512}, {"height", 768}}));
}

TEST_F(TransformerLayout, StableDiffusion3sNamesAreDiffusers) {
  const ModelFiles m = open(sd3_shapes({.prefix = kPrefix, .blocks = 11, .dual = 1, .normed = true}));
  const Locate& at = m.at("transformer").locate;
  const auto is = [&](const std::string& own, const std::string& file, int part = 0, int parts = 1,
                      bool swapped = false) {
    const Place place = at(own);
    EXPECT_EQ(place.name, kPrefix + file);
    EXPECT_EQ(place.part, part) << own;
    EXPECT_EQ(place.parts, parts) << own;
    EXPECT_EQ(place.swapped, swapped) << own;
    EXPECT_EQ(place.count, 1) << own;
  };
  is("pos_embed.proj.bias", "x_embedder.proj.bias");
  is("pos_embed.pos_embed", "pos_embed");
  is("time_text_embed.text_embedder.linear_2.weight", "y_embedder.mlp.2.weight");
  is("context_embedder.weight", "context_embedder.weight");
  is("norm_out.linear.bias", "final_layer.adaLN_modulation.1.bias", 0, 1, true);
  is("proj_out.weight", "final_layer.linear.weight");
  is("transformer_blocks.10.attn.to_v.bias", "joint_blocks.10.x_block.attn.qkv.bias", 2, 3);
  is("transformer_blocks.0.attn2.to_k.weight", "joint_blocks.0.x_block.attn2.qkv.weight", 1, 3);
  is("transformer_blocks.1.attn.add_q_proj.weight", "joint_blocks.1.context_block.attn.qkv.weight", 0, 3);
  is("transformer_blocks.1.attn.norm_added_k.weight", "joint_blocks.1.context_block.attn.ln_k.weight");
  is("transformer_blocks.1.attn.to_add_out.bias", "joint_blocks.1.context_block.attn.proj.bias");
  is("transformer_blocks.1.ff_context.net.0.proj.weight", "joint_blocks.1.context_block.mlp.fc1.weight");
  is("transformer_blocks.1.norm1_context.linear.weight", "joint_blocks.1.context_block.adaLN_modulation.1.weight");
  is("transformer_blocks.10.norm1.linear.weight", "joint_blocks.10.x_block.adaLN_modulation.1.weight");
  is("transformer_blocks.10.norm1_context.linear.weight", "joint_blocks.10.context_block.adaLN_modulation.1.weight", 0,
     1, true);
  for (const char* strange : {"transformer_blocks.", "transformer_blocks.1", "transformer_blocks.1.attn.to_q.a.b", "x"})
    EXPECT_EQ(at(strange).name, kPrefix + strange);
}

TEST_F(TransformerLayout, TextEncodersAndAutoencoderMayBeInside) {
  Shapes s = sd3_shapes({.prefix = kPrefix});
  add_clip(s, "text_encoders.clip_l.transformer.", 64, 64);
  add_clip(s, "text_encoders.clip_g.transformer.", 128, 96);
  s["first_stage_model.decoder.conv_in.weight"] = {64, 16, 3, 3};
  s["first_stage_model.decoder.up.0.block.0.conv1.weight"] = {64, 64, 3, 3};
  s["text_encoders.clip_l.logit_scale"] = {};
  const ModelFiles m = open(s);
  EXPECT_TRUE(warnings.empty());
  const Component &l = m.at("text_encoder"), &g = m.at("text_encoder_2");
  EXPECT_FALSE(l.type->projects) << "as diffusers reads such files, whatever the file has";
  EXPECT_EQ(l.config.integer("projection_dim", 0), 64);
  EXPECT_EQ(l.config.string("hidden_act", ""), "quick_gelu");
  EXPECT_TRUE(g.type->projects);
  EXPECT_EQ(g.config.integer("projection_dim", 0), 96);
  EXPECT_EQ(g.config.string("hidden_act", ""), "gelu");
  EXPECT_EQ(g.config.integer("num_attention_heads", 0), 2);
  EXPECT_EQ(m.find("text_encoder_3"), nullptr);
  EXPECT_EQ(m.at("vae").config.number("shift_factor", 0), 0.0609);
  EXPECT_EQ(m.at("vae").config.boolean("use_quant_conv", true), false);
  EXPECT_EQ(tokenizer_of(l)->pad_id(), 49407);
  EXPECT_EQ(tokenizer_of(g)->pad_id(), 0);

  add_t5(s, "text_encoders.t5xxl.transformer.", 256);
  s["text_encoders.t5xxl.transformer.encoder.embed_tokens.weight"] = {200, 256};
  const ModelFiles whole = open(s);
  EXPECT_TRUE(warnings.empty());
  const Json& t5 = whole.at("text_encoder_3").config.json();
  const Json expected = {{"vocab_size", 200},
                         {"d_model", 256},
                         {"d_kv", 8},
                         {"d_ff", 96},
                         {"num_layers", 2},
                         {"num_heads", 6},
                         {"relative_attention_num_buckets", 32},
                         {"relative_attention_max_distance", 128}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(t5.at(key), value) << key;

  s.erase("text_encoders.clip_g.transformer.text_projection.weight");
  EXPECT_CONTAINS(refusal(s), "no tensor 'text_encoders.clip_g.transformer.text_projection.weight'");
}

TEST_F(TransformerLayout, SaysWhichPartIsMissingAndWhoBringsIt) {
  const auto missing = [this](const Shapes& s, const char* part) {
    const ModelFiles m = open(s);
    return message_of(Fault::input, [&] { m.at(part); });
  };
  const std::string clips = missing(sd3_shapes(), "text_encoder");
  for (const char* word :
       {"CLIP-L (clip_l.safetensors), and no CLIP-G (clip_g.safetensors)", "text_encoders", "huggingface.co"})
    EXPECT_CONTAINS(clips, word);
  EXPECT_CONTAINS(missing(sd3_shapes(), "vae"),
                  "has no vae: name an autoencoder with vae, from vae/ of huggingface.co/");
  Shapes s = sd3_shapes({.prefix = kPrefix});
  add_clip(s, "text_encoders.clip_l.transformer.", 64);
  EXPECT_CONTAINS(missing(s, "text_encoder_2"), "has no CLIP-G (clip_g.safetensors): name");
}

TEST_F(TransformerLayout, HostileShapesAreNamed) {
  const auto changed = [this](const std::string& name, std::vector<std::int64_t> shape) {
    Shapes s = sd3_shapes();
    s[name] = std::move(shape);
    return refusal(s);
  };
  EXPECT_CONTAINS(changed("pos_embed", {1, 250, 128}), "250 positions, which are no square");
  EXPECT_CONTAINS(changed("pos_embed", {250}), "'pos_embed' has 1 dimensions");
  EXPECT_CONTAINS(changed("x_embedder.proj.weight", {128, 16, 0, 0}), "no patches of 0x0");
  EXPECT_CONTAINS(changed("x_embedder.proj.weight", {100, 16, 2, 2}), "100 channels wide, which are no heads of 64");
  EXPECT_CONTAINS(changed("final_layer.linear.weight", {63, 128}), "63 rows");
  for (const char* name : {"x_embedder.proj.weight", "pos_embed", "context_embedder.weight",
                           "final_layer.linear.weight", "y_embedder.mlp.0.weight"}) {
    Shapes s = sd3_shapes();
    s.erase(name);
    EXPECT_CONTAINS(refusal(s), concat("no tensor '", name, "'"));
  }
  // Blocks are counted by any of their tensors, and those that are not there are told when they are asked for.
  Shapes s = sd3_shapes();
  s.erase("joint_blocks.1.x_block.attn.qkv.weight");
  EXPECT_EQ(open(s).at("transformer").config.integer("num_layers", 0), 3);
  s["joint_blocks.77.x"] = {1};
  EXPECT_EQ(open(s).at("transformer").config.integer("num_layers", 0), 78);
  s["joint_blocks.77777777.x"] = s["joint_blocks.-1.x"] = s["joint_blocks.x"] = {1};
  EXPECT_EQ(open(s).at("transformer").config.integer("num_layers", 0), 78);
}

TEST_F(TransformerLayout, T5OfTheFirstVersionIsRefused) {
  Shapes s = sd3_shapes({.prefix = kPrefix});
  add_t5(s, "text_encoders.t5xxl.transformer.", 256);
  const std::string network = "text_encoders.t5xxl.transformer.encoder.block.0.layer.1.DenseReluDense.";
  s[network + "wi.weight"] = {96, 256};
  EXPECT_CONTAINS(refusal(s), "first version");
  s.erase(network + "wi.weight");
  s["text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight"] = {47, 256};
  EXPECT_CONTAINS(refusal(s), "47 rows, which are not 6 equal heads");
}

Shapes pixart(std::int64_t tokens, bool sizes, std::int64_t side = 0) {
  Shapes s;
  const std::int64_t d = 96;
  for (const char* linear : {"x_embedder.proj", "y_embedder.y_proj.fc1", "y_embedder.y_proj.fc2", "t_embedder.mlp.0",
                             "t_embedder.mlp.2", "t_block.1", "final_layer.linear"})
    s[concat(linear, ".weight")] = {d, d};
  s["x_embedder.proj.weight"] = {d, 4, 2, 2};
  s["y_embedder.y_proj.fc1.weight"] = {d, 40};
  s["final_layer.linear.weight"] = {32, d};
  s["final_layer.scale_shift_table"] = {2, d};
  for (int i = 0; i < 2; ++i) s[concat("blocks.", i, ".attn.qkv.weight")] = {3 * d, d};
  if (tokens > 0) s["y_embedder.y_embedding"] = {tokens, 40};
  if (sizes) s["csize_embedder.mlp.0.weight"] = {d / 3, 256};
  if (side > 0) s["pos_embed"] = {1, side * side, d};
  return s;
}

TEST_F(TransformerLayout, PixArtIsAlphaOrSigma) {
  const auto kind = [this](const Shapes& s) {
    const ModelFiles m = open(s);
    return concat(m.index.string("_class_name", ""), ' ', m.at("transformer").config.integer("sample_size", 0), ' ',
                  m.at("transformer").config.number("interpolation_scale", 0));
  };
  EXPECT_EQ(kind(pixart(120, true, 64)), "PixArtAlphaPipeline 128 2");
  EXPECT_EQ(kind(pixart(120, false, 16)), "PixArtAlphaPipeline 32 1");
  EXPECT_EQ(kind(pixart(300, false, 16)), "PixArtSigmaPipeline 32 0.5");
  EXPECT_EQ(kind(pixart(300, false, 128)), "PixArtSigmaPipeline 256 4");
  EXPECT_EQ(kind(pixart(0, true)), "PixArtAlphaPipeline 128 2");
  EXPECT_EQ(kind(pixart(0, false)), "PixArtSigmaPipeline 128 2");
  const ModelFiles m = open(pixart(0, false));
  EXPECT_CONTAINS(m.notes.front(), "Sigma");
  Shapes odd = pixart(0, false);
  odd["x_embedder.proj.weight"] = {100, 4, 2, 2};
  EXPECT_CONTAINS(refusal(odd), "100 channels wide, which 16 heads do not divide");
  EXPECT_EQ(m.scaling.factor, kSdxlScaling);
  EXPECT_EQ(open(pixart(120, true, 64)).scaling.factor, kSdScaling);
  const Json config = open(pixart(120, true, 64)).at("transformer").config.json();
  const Json expected = {
      {"num_layers", 2},  {"num_attention_heads", 16}, {"attention_head_dim", 6},          {"caption_channels", 40},
      {"in_channels", 4}, {"out_channels", 8},         {"use_additional_conditions", true}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(config.at(key), value) << key;
  EXPECT_CONTAINS(message_of(Fault::input, [&] { m.at("text_encoder"); }), "has no T5 (t5xxl_fp16.safetensors): name");
}

TEST_F(TransformerLayout, PixArtsNamesAreDiffusers) {
  const ModelFiles m = open(pixart(120, true, 64));
  const Locate& at = m.at("transformer").locate;
  EXPECT_EQ(at("scale_shift_table").name, "final_layer.scale_shift_table");
  EXPECT_EQ(at("transformer_blocks.1.scale_shift_table").name, "blocks.1.scale_shift_table");
  EXPECT_EQ(at("adaln_single.emb.aspect_ratio_embedder.linear_2.bias").name, "ar_embedder.mlp.2.bias");
  EXPECT_EQ(at("adaln_single.linear.weight").name, "t_block.1.weight");
  const Place v = at("transformer_blocks.0.attn2.to_v.weight");
  EXPECT_EQ(v.name, "blocks.0.cross_attn.kv_linear.weight");
  EXPECT_EQ(v.part, 1);
  EXPECT_EQ(v.parts, 2);
  EXPECT_EQ(at("transformer_blocks.0.attn1.to_out.0.bias").name, "blocks.0.attn.proj.bias");
  EXPECT_TRUE(m.at("transformer").unused.contains("y_embedder.y_embedding"));
}

// Of 2 layers and 1 refiner of each kind: a head is 16 wide.
Shapes single_stream(std::int64_t width, std::int64_t kv_width, std::int64_t inner, const std::string& prefix = "") {
  Shapes s;
  s[prefix + "x_embedder.weight"] = {width, 64};
  s[prefix + "cap_embedder.0.weight"] = {40};
  s[prefix + "cap_embedder.1.weight"] = {width, 40};
  s[prefix + "final_layer.linear.weight"] = {64, width};
  s[prefix + "norm_final.weight"] = {width};
  for (const char* layer : {"layers.0.", "layers.1.", "noise_refiner.0.", "context_refiner.0."}) {
    const std::string front = prefix + layer;
    s[front + "attention.qkv.weight"] = {width + 2 * kv_width, width};
    s[front + "attention.out.weight"] = {width, width};
    s[front + "attention.q_norm.weight"] = s[front + "attention.k_norm.weight"] = {16};
    for (const char* linear : {"w1", "w3"}) s[concat(front, "feed_forward.", linear, ".weight")] = {inner, width};
    s[front + "feed_forward.w2.weight"] = {width, inner};
  }
  return s;
}

TEST_F(TransformerLayout, ZImagesStructureAndNames) {
  for (const std::string& prefix : {kPrefix, std::string()}) {
    Shapes s = single_stream(48, 48, 128, prefix);
    s[prefix + "x_pad_token"] = s[prefix + "cap_pad_token"] = {1, 48};
    const ModelFiles m = open(s);
    EXPECT_EQ(m.index.string("_class_name", ""), "ZImagePipeline");
    EXPECT_EQ(m.scheduler.number("shift", 0), 3);
    EXPECT_EQ(m.scaling.factor, kFluxScaling.factor);
    const Component& c = m.at("transformer");
    EXPECT_EQ(c.type->architecture, Architecture::z_image_transformer);
    const Json expected = {{"in_channels", 16}, {"dim", 48},          {"n_layers", 2},         {"n_refiner_layers", 1},
                           {"n_heads", 3},      {"cap_feat_dim", 40}, {"axes_dims", {4, 6, 6}}};
    for (const auto& [key, value] : expected.items()) EXPECT_EQ(c.config.json().at(key), value) << key;
    const Place v = c.locate("noise_refiner.0.attention.to_v.weight");
    EXPECT_EQ(v.name, prefix + "noise_refiner.0.attention.qkv.weight");
    EXPECT_EQ(v.part, 2);
    EXPECT_EQ(v.parts, 3);
    for (const auto& [own, file] :
         {std::pair{"all_x_embedder.2-1.weight", "x_embedder.weight"},
          {"all_final_layer.2-1.adaLN_modulation.1.bias", "final_layer.adaLN_modulation.1.bias"},
          {"layers.1.attention.to_out.0.weight", "layers.1.attention.out.weight"},
          {"layers.1.attention.norm_k.weight", "layers.1.attention.k_norm.weight"},
          {"layers.1.feed_forward.w2.weight", "layers.1.feed_forward.w2.weight"},
          {"t_embedder.mlp.2.bias", "t_embedder.mlp.2.bias"},
          {"cap_pad_token", "cap_pad_token"}})
      EXPECT_EQ(c.locate(own).name, prefix + file);
    EXPECT_TRUE(c.unused.contains(prefix + "norm_final.weight"));
    EXPECT_CONTAINS(m.notes.back(), "Turbo");
    EXPECT_CONTAINS(message_of(Fault::input, [&] { m.at("text_encoder"); }), "has no Qwen3");
    s[prefix + "siglip_embedder.0.weight"] = {8};
    EXPECT_CONTAINS(refusal(s), "Omni");
  }
}

TEST_F(TransformerLayout, Lumina2sStructureAndNames) {
  const ModelFiles m = open(single_stream(96, 32, 256, kPrefix));
  EXPECT_EQ(m.index.string("_class_name", ""), "Lumina2Pipeline");
  EXPECT_EQ(m.scheduler.number("shift", 0), 6);
  const Component& c = m.at("transformer");
  EXPECT_EQ(c.type->architecture, Architecture::lumina2_transformer);
  const Json expected = {{"in_channels", 16},       {"hidden_size", 96},        {"num_layers", 2},
                         {"num_refiner_layers", 1}, {"num_attention_heads", 6}, {"num_kv_heads", 2},
                         {"cap_feat_dim", 40},      {"multiple_of", 256},       {"axes_dim_rope", {5, 5, 5}}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(c.config.json().at(key), value) << key;
  const Place k = c.locate("layers.0.attn.to_k.weight"), q = c.locate("layers.0.attn.to_q.weight");
  EXPECT_EQ(k.name, kPrefix + "layers.0.attention.qkv.weight");
  EXPECT_EQ(k.part, 3);
  EXPECT_EQ(q.count, 3);
  EXPECT_EQ(q.parts, 5);
  for (const auto& [own, file] : {std::pair{"layers.0.norm1.linear.bias", "layers.0.adaLN_modulation.1.bias"},
                                  {"layers.0.norm1.norm.weight", "layers.0.attention_norm1.weight"},
                                  {"context_refiner.0.norm1.weight", "context_refiner.0.attention_norm1.weight"},
                                  {"layers.0.norm2.weight", "layers.0.attention_norm2.weight"},
                                  {"layers.0.feed_forward.linear_3.weight", "layers.0.feed_forward.w3.weight"},
                                  {"norm_out.linear_1.bias", "final_layer.adaLN_modulation.1.bias"},
                                  {"time_caption_embed.timestep_embedder.linear_2.weight", "t_embedder.mlp.2.weight"}})
    EXPECT_EQ(c.locate(own).name, kPrefix + file);
  EXPECT_CONTAINS(refusal(single_stream(96, 48, 256)), "expected a third of them");
}

TEST_F(TransformerLayout, DiffusersNamesAreThemselves) {
  Shapes s{{"pos_embed.proj.weight", {128, 16, 2, 2}},
           {"pos_embed.pos_embed", {1, 64, 128}},
           {"proj_out.weight", {64, 128}},
           {"context_embedder.weight", {128, 256}},
           {"time_text_embed.text_embedder.linear_1.weight", {128, 160}},
           {"transformer_blocks.0.attn.add_q_proj.weight", {128, 128}},
           {"transformer_blocks.0.attn2.to_q.weight", {128, 128}},
           {"transformer_blocks.1.attn.norm_q.weight", {32}},
           {"transformer_blocks.0.attn.norm_q.weight", {32}}};
  const ModelFiles m = open(s);
  const Json& config = m.at("transformer").config.json();
  EXPECT_EQ(config.at("num_layers"), 2);
  EXPECT_EQ(config.at("attention_head_dim"), 32);
  EXPECT_EQ(config.at("num_attention_heads"), 4);
  EXPECT_EQ(config.at("dual_attention_layers"), Json{0});
  EXPECT_EQ(m.at("transformer").locate("norm_out.linear.weight").name, "norm_out.linear.weight");
  EXPECT_FALSE(m.at("transformer").locate("norm_out.linear.weight").swapped);
}

}  // namespace
}  // namespace sdgen
