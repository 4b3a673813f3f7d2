// A denoising network beside a model of other weights: what is read off its file, and what follows it. That the
// pictures are diffusers' is tools/parity.py's to show.
#include "formats/backbone_file.h"

#include <gtest/gtest.h>

#include "base/tables.h"

namespace sdgen {
namespace {

// A U-Net in diffusers' names, of two levels, with a resnet each on the way down.
Shapes unet(std::int64_t in_channels = 4, const std::string& prefix = "") {
  Shapes s;
  const auto resnet = [&](const std::string& block, int i, std::int64_t out) {
    s[concat(prefix, block, ".resnets.", i, ".conv1.weight")] = {out, out, 3, 3};
  };
  const auto transformer = [&](const std::string& block, int i, int layers) {
    const std::string module = concat(prefix, block, ".attentions.", i, '.');
    s[module + "proj_in.weight"] = {64, 64};
    for (int layer = 0; layer < layers; ++layer) {
      s[concat(module, "transformer_blocks.", layer, ".norm1.weight")] = {64};
      s[concat(module, "transformer_blocks.", layer, ".attn2.to_k.weight")] = {64, 128};
    }
  };
  s[prefix + "conv_in.weight"] = {64, in_channels, 3, 3};
  s[prefix + "conv_out.weight"] = {4, 64, 3, 3};
  s[prefix + "time_embedding.linear_1.weight"] = {256, 64};
  resnet("down_blocks.0", 0, 64);
  transformer("down_blocks.0", 0, 2);
  resnet("down_blocks.1", 0, 128);
  for (int i = 0; i < 2; ++i) resnet("up_blocks.0", i, 128), resnet("up_blocks.1", i, 64);
  for (int i = 0; i < 2; ++i) transformer("up_blocks.1", i, 1 + i);
  resnet("mid_block", 0, 128);
  return s;
}

struct BackboneFile : testing::Test {
  Scratch scratch;
  Json config = {
      {"_class_name", "UNet2DConditionModel"}, {"in_channels", 4},      {"block_out_channels", {32, 64, 128}},
      {"attention_head_dim", {1, 2, 4}},       {"norm_num_groups", 16}, {"sample_size", 24}};

  // A model whose own network has `config`.
  ModelFiles base(const char* pipeline = "StableDiffusionPipeline") const {
    ModelFiles model{scratch / "base",
                     Config({{"_class_name", pipeline}}, "index"),
                     Config({{"_class_name", "PNDMScheduler"}, {"skip_prk_steps", true}}, "scheduler"),
                     {},
                     true};
    model.components.push_back(
        {&model_part("unet"), &component_class("UNet2DConditionModel"), Config(config, "base"), nullptr, {}, {}});
    return model;
  }
  ModelFiles with(const std::filesystem::path& file, ModelFiles model) const {
    replace_backbone(model, file);
    return model;
  }
  ModelFiles with(const Shapes& shapes, const std::map<std::string, std::string>& metadata = {}) const {
    return with(write_table(scratch, "unet.safetensors", shapes, metadata), base());
  }
  static const Json& config_of(const ModelFiles& model) { return model.at("unet").config.json(); }
};

TEST_F(BackboneFile, ShapesTellItsLevels) {
  const Json found = config_of(with(unet()));
  EXPECT_EQ(found.at("block_out_channels"), Json({64, 128}));
  EXPECT_EQ(found.at("layers_per_block"), Json({1, 1}));
  EXPECT_EQ(found.at("transformer_layers_per_block"), Json({{2}, {1}}));
  EXPECT_EQ(found.at("reverse_transformer_layers_per_block"), Json({{1, 1}, {1, 2}}));
  EXPECT_EQ(found.at("down_block_types"), Json({"CrossAttnDownBlock2D", "DownBlock2D"}));
  EXPECT_EQ(found.at("up_block_types"), Json({"UpBlock2D", "CrossAttnUpBlock2D"}));
  EXPECT_EQ(found.at("mid_block_type"), "UNetMidBlock2D");
  EXPECT_EQ(found.at("cross_attention_dim"), 128);
  EXPECT_EQ(found.at("use_linear_projection"), true);
}

// They do not show in shapes: heads are 32 wide in the base.
TEST_F(BackboneFile, HeadsAndGroupsAreTheModels) {
  const Json found = config_of(with(unet()));
  EXPECT_EQ(found.at("attention_head_dim"), Json({2, 4}));
  EXPECT_EQ(found.at("norm_num_groups"), 16);
  EXPECT_EQ(found.at("sample_size"), 24);
  for (const Json& eight : {Json(8), Json({8, 8, 8})}) {
    config["attention_head_dim"] = eight;
    EXPECT_EQ(config_of(with(unet())).at("attention_head_dim"), Json({8, 8}));
  }
  config.erase("attention_head_dim");
  EXPECT_EQ(config_of(with(unet())).at("attention_head_dim"), Json({8, 8}));
}

TEST_F(BackboneFile, NamesMayHaveAPrefix) {
  for (const char* prefix : {"", "unet.", "model.diffusion_model."}) {
    const ModelFiles model = with(unet(4, prefix));
    EXPECT_EQ(model.at("unet").prefix, prefix);
    EXPECT_EQ(model.at("unet").locate("conv_in.weight").name, prefix + std::string("conv_in.weight"));
  }
}

TEST_F(BackboneFile, PipelineAndDefaultsFollowIt) {
  EXPECT_EQ(with(unet()).index.string("_class_name", ""), "StableDiffusionPipeline");
  EXPECT_EQ(with(unet(9)).index.string("_class_name", ""), "StableDiffusionInpaintPipeline");
  EXPECT_EQ(with(unet(5)).index.string("_class_name", ""), "StableDiffusionDepth2ImgPipeline");

  Shapes guided = unet();
  guided["time_embedding.cond_proj.weight"] = {64, 32};
  const ModelFiles lcm = with(guided);
  EXPECT_EQ(lcm.index.string("_class_name", ""), "LatentConsistencyModelPipeline");
  EXPECT_EQ(lcm.scheduler.string("_class_name", ""), "LCMScheduler");
  EXPECT_EQ(lcm.said.at(0).json(), (Json{{"steps", 4}, {"guidance_scale", 8.5}}));

  // Back to a plain one.
  config["in_channels"] = 9;
  const auto file = write_table(scratch, "unet.safetensors", unet());
  const ModelFiles plain = with(file, base("StableDiffusionInpaintPipeline"));
  EXPECT_EQ(plain.index.string("_class_name", ""), "StableDiffusionPipeline");
}

TEST_F(BackboneFile, WhatTheFileSaysStandsAboveTheModel) {
  Shapes v = unet();
  v["v_pred"] = v["ztsnr"] = {0};
  const ModelFiles zero = with(v);
  EXPECT_EQ(zero.scheduler.string("prediction_type", ""), "v_prediction");
  EXPECT_EQ(zero.scheduler.boolean("rescale_betas_zero_snr", false), true);
  EXPECT_EQ(with(unet(), {{"modelspec.resolution", "512x768"}}).said.at(0).json(),
            (Json{{"width", 512}, {"height", 768}}));

  std::filesystem::create_directory(scratch / "other");
  scratch.write("other/sdgen.json", R"({"steps": 6})");
  ModelFiles model = base();
  model.said.emplace_back(Json{{"steps", 30}}, "base");
  model = with(write_table(scratch, "other/unet.safetensors", unet()), std::move(model));
  ASSERT_EQ(model.said.size(), 3u);
  EXPECT_EQ(model.said[0].json(), Json({{"steps", 6}}));
  EXPECT_EQ(model.said[2].json(), Json({{"steps", 30}}));
  EXPECT_NE(model.who().find("unet.safetensors beside "), std::string::npos);
}

TEST_F(BackboneFile, IsCalledAsItsModelWhereItIsAPart) {
  EXPECT_EQ(network_name("models/sdxl-lightning.safetensors"), "sdxl-lightning");
  for (const char* part : {"models/dmd2/unet", "models/dmd2/unet/", "models/dmd2/./unet/."})
    EXPECT_EQ(network_name(part), "dmd2") << part;
  EXPECT_EQ(network_name("models/dmd2"), "dmd2");
}

TEST_F(BackboneFile, OtherFilesAreRefused) {
  const auto refusal = [&](Fault fault, const std::filesystem::path& path, ModelFiles model) {
    return message_of(fault, [&] { with(path, std::move(model)); });
  };
  EXPECT_NE(refusal(Fault::input, scratch / "nowhere", base()).find("no such network"), std::string::npos);
  const auto vae = write_table(scratch, "vae.safetensors", {{"decoder.conv_in.weight", {64, 4, 3, 3}}});
  EXPECT_NE(refusal(Fault::input, vae, base()).find("holds no U-Net: this is an autoencoder alone"), std::string::npos);
  Shapes odd = unet();
  odd.erase("up_blocks.1.resnets.1.conv1.weight");
  const auto cut = write_table(scratch, "cut.safetensors", odd);
  EXPECT_NE(refusal(Fault::input, cut, base()).find("has 1 resnets on the way down and 1 on the way up"),
            std::string::npos);
  ModelFiles pixels = base("DDPMPipeline");
  pixels.components[0].type = &component_class("UNet2DModel");
  EXPECT_NE(refusal(Fault::usage, cut, pixels).find("has no U-Net on latents"), std::string::npos);
}

}  // namespace
}  // namespace sdgen
