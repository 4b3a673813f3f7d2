// ControlNets and T2I-Adapters in single files: what is read off names and shapes. That the networks then give
// diffusers' pictures is tools/parity.py's to show.
#include "formats/control_files.h"

#include <gtest/gtest.h>

#include "base/tables.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

std::shared_ptr<const TensorTable> table(const Scratch& scratch, const Shapes& shapes) {
  return std::make_shared<const TensorTable>(std::vector{write_table(scratch, "x.safetensors", shapes)});
}

std::string refusal(const Shapes& shapes, bool adapter = false) {
  const Scratch scratch;
  try {
    const auto t = table(scratch, shapes);
    adapter ? t2i_adapter_of(t) : controlnet_of(t, nullptr);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::input);
    return error.what();
  }
  return "";
}

// Two levels, the first with attention, in the original names.
Shapes original() {
  const std::string p = "control_model.";
  Shapes s = {{p + "input_blocks.0.0.weight", {64, 4, 3, 3}},
              {p + "time_embed.0.weight", {256, 64}},
              {p + "input_blocks.1.0.in_layers.2.weight", {64, 64, 3, 3}},
              {p + "input_blocks.1.1.proj_in.weight", {64, 64}},
              {p + "input_blocks.1.1.transformer_blocks.0.norm1.weight", {64}},
              {p + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", {64, 1024}},
              {p + "input_blocks.2.0.op.weight", {64, 64, 3, 3}},
              {p + "input_blocks.3.0.in_layers.2.weight", {128, 64, 3, 3}},
              {p + "middle_block.0.in_layers.2.weight", {128, 128, 3, 3}},
              {p + "middle_block.1.transformer_blocks.0.norm1.weight", {128}}};
  std::int64_t in = 3;
  for (const auto& [number, out] : std::map<int, std::int64_t>{{0, 16}, {2, 16}, {4, 32}, {6, 32}, {8, 96}, {10, 64}}) {
    s[concat(p, "input_hint_block.", number, ".weight")] = {out, in, 3, 3};
    in = out;
  }
  return s;
}

TEST(ControlFiles, OriginalControlNetIsReadOffItsShapes) {
  const Scratch scratch;
  const Component c = controlnet_of(table(scratch, original()), nullptr);
  const Json& json = c.config.json();
  EXPECT_EQ(json["block_out_channels"], (Json{64, 128}));
  EXPECT_EQ(json["layers_per_block"], (Json{1, 1}));
  EXPECT_EQ(json["attention_head_dim"], (Json{1, 2})) << "heads are 64 wide where no U-Net says";
  EXPECT_EQ(json["down_block_types"], (Json{"CrossAttnDownBlock2D", "DownBlock2D"}));
  EXPECT_EQ(json["mid_block_type"], "UNetMidBlock2DCrossAttn");
  EXPECT_EQ(json["cross_attention_dim"], 1024);
  EXPECT_EQ(json["use_linear_projection"], true);
  EXPECT_EQ(json["conditioning_embedding_out_channels"], (Json{16, 32, 96}));
  EXPECT_FALSE(json.contains("addition_embed_type"));
  for (const auto& [ours, theirs] : std::map<std::string, std::string>{
           {"conv_in.weight", "input_blocks.0.0.weight"},
           {"time_embedding.linear_2.bias", "time_embed.2.bias"},
           {"down_blocks.1.resnets.0.conv_shortcut.weight", "input_blocks.3.0.skip_connection.weight"},
           {"down_blocks.0.attentions.0.proj_in.bias", "input_blocks.1.1.proj_in.bias"},
           {"mid_block.resnets.1.norm2.bias", "middle_block.2.out_layers.0.bias"},
           {"controlnet_down_blocks.11.weight", "zero_convs.11.0.weight"},
           {"controlnet_mid_block.bias", "middle_block_out.0.bias"},
           {"controlnet_cond_embedding.conv_in.bias", "input_hint_block.0.bias"},
           {"controlnet_cond_embedding.blocks.3.weight", "input_hint_block.8.weight"},
           {"controlnet_cond_embedding.conv_out.weight", "input_hint_block.10.weight"}})
    EXPECT_EQ(c.locate(ours).name, "control_model." + theirs);
}

TEST(ControlFiles, UNetSaysWhatControlNetsDoNot) {
  const Scratch scratch;
  const Config unet({{"attention_head_dim", 8}, {"norm_num_groups", 16}}, "unet");
  const Component c = controlnet_of(table(scratch, original()), &unet);
  EXPECT_EQ(c.config.json()["attention_head_dim"], 8);
  EXPECT_EQ(c.config.json()["norm_num_groups"], 16);
}

TEST(ControlFiles, RelativesAreNamed) {
  EXPECT_NE(refusal({{"lora_controlnet", {1}}}).find("Control-LoRA"), std::string::npos);
  EXPECT_NE(refusal({{"difference", {1}}}).find("difference"), std::string::npos);
  EXPECT_NE(refusal({{"task_embedding", {6, 320}}}).find("several kinds"), std::string::npos);
  const std::string lora = refusal({{"lora_unet_conv_in.lora_down.weight", {4, 4, 3, 3}}});
  EXPECT_NE(lora.find("holds no ControlNet: this is a LoRA"), std::string::npos) << lora;
  EXPECT_NE(refusal(original(), /*adapter=*/true).find("holds no T2I-Adapter: this is a ControlNet"),
            std::string::npos);
}

TEST(ControlFiles, FlatAdapterIsFourBlocks) {
  const Scratch scratch;
  Shapes s = {{"conv_in.weight", {320, 768, 3, 3}}, {"body.3.in_conv.weight", {640, 320, 1, 1}}};
  for (int i = 0; i < 12; ++i) s[concat("body.", i, ".block1.weight")] = {i < 3 ? 320 : 640, i < 3 ? 320 : 640, 3, 3};
  const Component c = t2i_adapter_of(table(scratch, s));
  EXPECT_EQ(c.config.json()["adapter_type"], "full_adapter_xl");
  EXPECT_EQ(c.config.json()["in_channels"], 3);
  EXPECT_EQ(c.config.json()["num_res_blocks"], 3);
  EXPECT_EQ(c.config.json()["channels"], (Json{320, 640, 640, 640}));
  EXPECT_EQ(c.locate("adapter.body.2.resnets.1.block2.bias").name, "body.7.block2.bias");
  EXPECT_EQ(c.locate("adapter.body.1.in_conv.weight").name, "body.3.in_conv.weight");
  EXPECT_EQ(c.locate("adapter.conv_in.weight").name, "conv_in.weight");
}

TEST(ControlFiles, LightAdapterHasBodiesInItsBody) {
  const Scratch scratch;
  Shapes s;
  for (int i = 0; i < 3; ++i) {
    s[concat("body.", i, ".in_conv.weight")] = {80, i ? 320 : 64, 1, 1};
    s[concat("body.", i, ".out_conv.weight")] = {320, 80, 1, 1};
    for (int j = 0; j < 2; ++j) s[concat("body.", i, ".body.", j, ".block1.weight")] = {80, 80, 3, 3};
  }
  const Component c = t2i_adapter_of(table(scratch, s));
  EXPECT_EQ(c.config.json()["adapter_type"], "light_adapter");
  EXPECT_EQ(c.config.json()["in_channels"], 1);
  EXPECT_EQ(c.config.json()["channels"], (Json{320, 320}));
  EXPECT_EQ(c.config.json()["num_res_blocks"], 2);
  EXPECT_EQ(c.locate("adapter.body.2.resnets.1.block2.bias").name, "body.2.body.1.block2.bias");
}

// InstantX's for several kinds of pictures, one layer of each kind, heads of 128.
Shapes of_flux() {
  return {{"controlnet_x_embedder.weight", {256, 64}},
          {"x_embedder.weight", {256, 64}},
          {"context_embedder.weight", {256, 4096}},
          {"time_text_embed.text_embedder.linear_1.weight", {256, 768}},
          {"time_text_embed.guidance_embedder.linear_1.weight", {256, 256}},
          {"controlnet_mode_embedder.weight", {10, 256}},
          {"controlnet_blocks.0.weight", {256, 256}},
          {"controlnet_single_blocks.0.weight", {256, 256}},
          {"controlnet_single_blocks.1.weight", {256, 256}},
          {"transformer_blocks.0.attn.norm_q.weight", {128}}};
}

TEST(ControlFiles, ThoseOfFluxAreReadOffTheirShapes) {
  const Scratch scratch;
  const Component c = controlnet_of(table(scratch, of_flux()), nullptr);
  EXPECT_STREQ(c.type->name, "FluxControlNetModel");
  const Json json = c.config.json();
  for (const auto& [key, value] : std::map<std::string, Json>{{"num_layers", 1},
                                                              {"num_single_layers", 2},
                                                              {"num_attention_heads", 2},
                                                              {"attention_head_dim", 128},
                                                              {"axes_dims_rope", {16, 56, 56}},
                                                              {"guidance_embeds", true},
                                                              {"num_mode", 10},
                                                              {"joint_attention_dim", 4096},
                                                              {"pooled_projection_dim", 768},
                                                              {"in_channels", 64},
                                                              {"patch_size", 1}})
    EXPECT_EQ(json.at(key), value) << key;
  const Config tiny(Json{{"attention_head_dim", 128}, {"axes_dims_rope", {8, 60, 60}}}, "transformer");
  EXPECT_EQ(controlnet_of(table(scratch, of_flux()), &tiny).config.json()["axes_dims_rope"], (Json{8, 60, 60}));
}

TEST(ControlFiles, ThoseOfStableDiffusion3AreReadOffTheirShapes) {
  const Scratch scratch;
  Shapes net = {{"pos_embed_input.proj.weight", {128, 17, 2, 2}},
                {"pos_embed.proj.weight", {128, 16, 2, 2}},
                {"pos_embed.pos_embed", {1, 192 * 192, 128}},
                {"context_embedder.weight", {128, 4096}},
                {"time_text_embed.text_embedder.linear_1.weight", {128, 2048}},
                {"controlnet_blocks.0.weight", {128, 128}},
                {"controlnet_blocks.1.weight", {128, 128}},
                {"transformer_blocks.0.attn.to_q.weight", {128, 128}},
                {"transformer_blocks.1.attn2.to_q.weight", {128, 128}}};
  const Json json = controlnet_of(table(scratch, net), nullptr).config.json();
  for (const auto& [key, value] : std::map<std::string, Json>{{"num_layers", 2},
                                                              {"extra_conditioning_channels", 1},
                                                              {"num_attention_heads", 2},
                                                              {"pos_embed_max_size", 192},
                                                              {"dual_attention_layers", Json::array({1})},
                                                              {"force_zeros_for_pooled_projection", true},
                                                              {"use_pos_embed", true}})
    EXPECT_EQ(json.at(key), value) << key;
  const Config other(Json{{"attention_head_dim", 8}}, "transformer");
  EXPECT_EQ(controlnet_of(table(scratch, net), &other).config.json()["num_attention_heads"], 16)
      << "as the transformer";
  // Stability AI's, for 3.5 large: no words, no places, and names of its own.
  for (const char* name : {"pos_embed.proj.weight", "pos_embed.pos_embed", "context_embedder.weight"}) net.erase(name);
  net["transformer_blocks.0.attn.qkv.weight"] = {384, 128};
  net["pos_embed_input.proj.weight"] = {128, 16, 2, 2};
  const Component own = controlnet_of(table(scratch, net), nullptr);
  const Json large = own.config.json();
  EXPECT_EQ(large.at("joint_attention_dim"), Json());
  EXPECT_EQ(large.at("use_pos_embed"), false);
  EXPECT_EQ(large.at("force_zeros_for_pooled_projection"), false);
  EXPECT_EQ(large.at("extra_conditioning_channels"), 0);
  const Place v = own.locate("transformer_blocks.3.attn.to_v.bias");
  EXPECT_EQ(v.name, "transformer_blocks.3.attn.qkv.bias");
  EXPECT_EQ(v.part, 2);
  EXPECT_EQ(v.parts, 3);
  for (const auto& [diffusers, stability] : {std::pair{"attn.to_out.0", "attn.proj"},
                                             {"ff.net.0.proj", "mlp.fc1"},
                                             {"ff.net.2", "mlp.fc2"},
                                             {"norm1.linear", "adaLN_modulation.1"}})
    EXPECT_EQ(own.locate(concat("transformer_blocks.0.", diffusers, ".weight")).name,
              concat("transformer_blocks.0.", stability, ".weight"));
}

TEST(ControlFiles, XlabsNamesAreFluxsAndTheirOwn) {
  const Scratch scratch;
  const Component own = controlnet_of(table(scratch, {{"controlnet_blocks.0.weight", {256, 256}},
                                                      {"controlnet_blocks.1.weight", {256, 256}},
                                                      {"pos_embed_input.weight", {256, 64}},
                                                      {"img_in.weight", {256, 64}},
                                                      {"txt_in.weight", {256, 4096}},
                                                      {"vector_in.in_layer.weight", {256, 768}},
                                                      {"guidance_in.in_layer.weight", {256, 256}},
                                                      {"input_hint_block.14.weight", {16, 16, 3, 3}},
                                                      {"double_blocks.1.img_attn.norm.query_norm.scale", {128}},
                                                      {"double_blocks.0.img_attn.norm.query_norm.scale", {128}}}),
                                      nullptr);
  const Json json = own.config.json();
  for (const auto& [key, value] : std::map<std::string, Json>{{"_class_name", "FluxControlNetModel"},
                                                              {"num_layers", 2},
                                                              {"num_single_layers", 0},
                                                              {"num_attention_heads", 2},
                                                              {"joint_attention_dim", 4096},
                                                              {"patch_size", 2},
                                                              {"conditioning_embedding_channels", 16},
                                                              {"guidance_embeds", true}})
    EXPECT_EQ(json.at(key), value) << key;
  for (const auto& [diffusers, xlabs] :
       {std::pair{"controlnet_x_embedder.bias", "pos_embed_input.bias"},
        {"input_hint_block.conv_in.weight", "input_hint_block.0.weight"},
        {"input_hint_block.blocks.5.weight", "input_hint_block.12.weight"},
        {"input_hint_block.conv_out.bias", "input_hint_block.14.bias"},
        {"controlnet_blocks.1.weight", "controlnet_blocks.1.weight"},
        {"transformer_blocks.1.norm1.linear.weight", "double_blocks.1.img_mod.lin.weight"}})
    EXPECT_EQ(own.locate(diffusers).name, xlabs);
  EXPECT_EQ(own.locate("transformer_blocks.1.attn.add_k_proj.weight").part, 1);
}

TEST(ControlFiles, RelativesOfTransformersAreRefusedByName) {
  EXPECT_NE(refusal({{"controlnet_blocks.0.weight", {8, 8}}}).find("a transformer that is not supported"),
            std::string::npos);
  Shapes heads = of_flux();
  heads["transformer_blocks.0.attn.norm_q.weight"] = {100};
  EXPECT_NE(refusal(heads).find("width 256, which does not divide into heads of 100"), std::string::npos);
}

}  // namespace
}  // namespace sdgen
