// Every spelling of a module's name in LoRA files. That the products are right is tools/parity.py's to show.
#include "formats/lora_names.h"

#include <gtest/gtest.h>

namespace sdgen {
namespace {

LoraNames::Parameters unet() {
  LoraNames::Parameters p;
  const auto resnet = [&](const std::string& name) { p[name + ".conv1.weight"] = {8, 8, 3, 3}; };
  const auto transformer = [&](const std::string& name) {
    p[name + ".proj_in.weight"] = {8, 8};
    p[name + ".transformer_blocks.0.attn1.to_q.weight"] = {8, 8};
    p[name + ".transformer_blocks.0.attn1.to_out.0.weight"] = {8, 8};
    p[name + ".transformer_blocks.0.ff.net.0.proj.weight"] = {8, 8};
  };
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) resnet("down_blocks." + std::to_string(i) + ".resnets." + std::to_string(j));
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j) resnet("up_blocks." + std::to_string(i) + ".resnets." + std::to_string(j));
  for (int j = 0; j < 2; ++j) transformer("down_blocks.1.attentions." + std::to_string(j));
  for (int j = 0; j < 3; ++j) transformer("up_blocks.0.attentions." + std::to_string(j));
  resnet("mid_block.resnets.1");
  p["conv_in.weight"] = {8, 4, 3, 3};
  p["down_blocks.0.downsamplers.0.conv.weight"] = p["up_blocks.0.upsamplers.0.conv.weight"] = {8, 8, 3, 3};
  p["time_embedding.linear_2.weight"] = {8, 8};
  p["down_blocks.0.resnets.0.time_emb_proj.bias"] = {8};
  return p;
}

LoraNames names() {
  LoraNames n;
  n.add(model_part("unet"), Architecture::unet, unet());
  n.add(model_part("text_encoder"), Architecture::clip_text,
        {{"encoder.layers.0.self_attn.q_proj.weight", {4, 4}}, {"encoder.layers.0.mlp.fc1.weight", {8, 4}}});
  n.add(model_part("text_encoder_2"), Architecture::clip_text,
        {{"encoder.layers.0.self_attn.out_proj.weight", {6, 6}}, {"text_projection.weight", {6, 6}}});
  return n;
}

TEST(LoraNames, EverySpellingFindsItsModule) {
  const LoraNames n = names();
  const std::string q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
  const std::string out = "up_blocks.0.attentions.2.transformer_blocks.0.attn1.to_out.0";
  const std::string text_q = "encoder.layers.0.self_attn.q_proj", text_out = "encoder.layers.0.self_attn.out_proj";
  for (const auto& [key, component, module] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", "unet", q},
           {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_up.weight", "unet", q},
           {"lora_unet_output_blocks_2_1_transformer_blocks_0_attn1_to_out_0.alpha", "unet", out},
           {"lycoris_up_blocks_0_attentions_2_transformer_blocks_0_attn1_to_out_0.lokr_w1", "unet", out},
           {"unet." + q + ".lora_A.weight", "unet", q},
           {"base_model.model." + q + ".lora_B.default.weight", "unet", q},
           {"unet." + q + ".lora_A.an-adapters_own name.weight", "unet", q},
           {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.a1.weight", "unet", q},
           {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.oft_blocks", "unet", q},
           {"oft_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.oft_blocks", "unet", q},
           {"unet." + q + ".lora.down.weight", "unet", q},
           {"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight", "unet", q},
           {"up_blocks.0.attentions.2.transformer_blocks.0.attn1.processor.to_out_lora.down.weight", "unet", out},
           {"diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.hada_w1_a", "unet", q},
           {"lora_unet_input_blocks_0_0.lora_mid.weight", "unet", "conv_in"},
           {"lora_unet_input_blocks_3_0_op.lora_down.weight", "unet", "down_blocks.0.downsamplers.0.conv"},
           {"lora_unet_output_blocks_2_2_conv.lora_down.weight", "unet", "up_blocks.0.upsamplers.0.conv"},
           {"lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight", "unet", "down_blocks.0.resnets.0.conv1"},
           {"lora_unet_input_blocks_1_0_emb_layers_1.diff_b", "unet", "down_blocks.0.resnets.0.time_emb_proj"},
           {"lora_unet_middle_block_2_in_layers_2.dora_scale", "unet", "mid_block.resnets.1.conv1"},
           {"lora_unet_time_embed_2.lora_down.weight", "unet", "time_embedding.linear_2"},
           {"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "text_encoder", text_q},
           {"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "text_encoder", text_q},
           {"lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "text_encoder", "encoder.layers.0.mlp.fc1"},
           {"text_encoder.text_model." + text_q + ".lora_linear_layer.up.weight", "text_encoder", text_q},
           {"text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight", "text_encoder", text_q},
           {"base_model.model.text_model." + text_q + ".lora_A.weight", "text_encoder", text_q},
           {"lora_te2_text_model_encoder_layers_0_self_attn_out_proj.lora_up.weight", "text_encoder_2", text_out},
           {"text_encoder_2.text_model." + text_out + ".lora_magnitude_vector", "text_encoder_2", text_out},
           {"lora_te2_text_projection.lora_down.weight", "text_encoder_2", "text_projection"}}) {
    const auto taken = lora_key(key);
    ASSERT_TRUE(taken) << key;
    const LoraNames::Modules* found = n.find(taken->module);
    ASSERT_TRUE(found) << key << " -> " << taken->module;
    ASSERT_EQ(found->size(), 1u) << key;
    EXPECT_EQ(found->front().part->name, component) << key;
    EXPECT_EQ(found->front().name, module) << key;
    EXPECT_TRUE(found->front().rows.whole()) << key;
  }
}

TEST(LoraNames, OtherNamesFindNothing) {
  const LoraNames n = names();
  for (const char* module :
       {"lora_unet_down_blocks_9_attentions_0_proj_in", "lora_te2_text_model_encoder_layers_0_mlp_fc1",
        "lora_unet_input_blocks_4_1", "", "lora_unet_"})
    EXPECT_FALSE(n.find(module)) << module;
  EXPECT_FALSE(lora_key("conv_in.weight"));
  EXPECT_FALSE(lora_key("text_model.embeddings.position_ids"));
}

TEST(LoraNames, ShapesAreTheModels) {
  const LoraNames n = names();
  const LoraNames::Modules* conv = n.find("lora_unet_conv_in");
  ASSERT_TRUE(conv);
  EXPECT_EQ(*n.shape(conv->front(), "weight"), (std::vector<std::int64_t>{8, 4, 3, 3}));
  EXPECT_FALSE(n.shape(conv->front(), "bias"));
}

}  // namespace
}  // namespace sdgen
