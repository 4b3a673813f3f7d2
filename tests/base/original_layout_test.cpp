// Single files in the original layouts: what is read off names and shapes. That the networks then give diffusers'
// pictures is tools/parity.py's to show.
#include "formats/original_layout.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/scratch.h"
#include "formats/model_files.h"
#include "formats/tokenizers.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

// A file of float16 zeros (`values` for one tensor that matters).
fs::path write(const fs::path& path, const Shapes& shapes, const std::map<std::string, std::vector<float>>& values = {},
               const Json& metadata = {}) {
  Json header = Json::object();
  if (!metadata.is_null()) header["__metadata__"] = metadata;
  std::string data;
  for (const auto& [name, shape] : shapes) {
    std::int64_t count = 1;
    for (const std::int64_t n : shape) count *= n;
    const auto known = values.find(name);
    const std::size_t begin = data.size();
    if (known != values.end()) {
      data.append(reinterpret_cast<const char*>(known->second.data()), 4 * known->second.size());
    } else {
      data.append(2 * count, '\0');
    }
    header[name] = {
        {"dtype", known != values.end() ? "F32" : "F16"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&length), 8) << text << data;
  return path;
}

void resnet(Shapes& s, const std::string& block, std::int64_t in, std::int64_t out) {
  s[block + ".0.in_layers.2.weight"] = {out, in, 3, 3};
}

void transformer(Shapes& s, const std::string& block, std::int64_t width, std::int64_t context, int layers,
                 bool linear) {
  s[block + ".1.proj_in.weight"] =
      linear ? std::vector<std::int64_t>{width, width} : std::vector<std::int64_t>{width, width, 1, 1};
  for (int i = 0; i < layers; ++i) {
    const std::string layer = concat(block, ".1.transformer_blocks.", i);
    s[layer + ".norm1.weight"] = s[layer + ".norm1.bias"] = {width};
    s[layer + ".attn2.to_k.weight"] = {width, context};
  }
}

// A U-Net of two levels, one resnet each on the way down; the first level has transformers.
Shapes unet(std::int64_t context, bool linear, std::int64_t in_channels = 4) {
  Shapes s;
  const std::string u = "model.diffusion_model.";
  s[u + "input_blocks.0.0.weight"] = {64, in_channels, 3, 3};
  s[u + "out.2.weight"] = {4, 64, 3, 3};
  s[u + "time_embed.0.weight"] = {256, 64};
  resnet(s, u + "input_blocks.1", 64, 64);
  transformer(s, u + "input_blocks.1", 64, context, 1, linear);
  s[u + "input_blocks.2.0.op.weight"] = {64, 64, 3, 3};
  resnet(s, u + "input_blocks.3", 64, 128);
  resnet(s, u + "middle_block", 128, 128);
  transformer(s, u + "middle_block", 128, context, 2, linear);
  for (int i = 0; i < 4; ++i) resnet(s, concat(u, "output_blocks.", i), 192, i < 2 ? 128 : 64);
  s[u + "output_blocks.1.1.conv.weight"] = {128, 128, 3, 3};  // no transformer before it
  for (int i = 2; i < 4; ++i) transformer(s, concat(u, "output_blocks.", i), 64, context, 1, linear);
  return s;
}

void clip(Shapes& s, const std::string& prefix) {
  s[prefix + "embeddings.token_embedding.weight"] = {100, 128};
  s[prefix + "embeddings.position_embedding.weight"] = {77, 128};
  s[prefix + "final_layer_norm.weight"] = {128};
  for (int i = 0; i < 3; ++i) s[concat(prefix, "encoder.layers.", i, ".layer_norm1.weight")] = {128};
  s[prefix + "encoder.layers.0.mlp.fc1.weight"] = {512, 128};
}

void open_clip(Shapes& s, const std::string& prefix, int layers, std::int64_t width = 128) {
  s[prefix + "token_embedding.weight"] = {100, width};
  s[prefix + "positional_embedding"] = {77, width};
  s[prefix + "ln_final.weight"] = {width};
  s[prefix + "text_projection"] = {width, 32};
  for (int i = 0; i < layers; ++i) s[concat(prefix, "transformer.resblocks.", i, ".ln_1.weight")] = {width};
  s[prefix + "transformer.resblocks.0.mlp.c_fc.weight"] = {4 * width, width};
}

void vae(Shapes& s, const std::string& prefix) {
  s[prefix + "decoder.conv_in.weight"] = {64, 4, 3, 3};
  for (int level = 0; level < 2; ++level)
    for (int block = 0; block < 3; ++block)
      s[concat(prefix, "decoder.up.", level, ".block.", block, ".conv1.weight")] = {32 * (level + 1), 64, 3, 3};
  s[prefix + "quant_conv.weight"] = s[prefix + "post_quant_conv.weight"] = {4, 4, 1, 1};
  s[prefix + "decoder.mid.attn_1.q.weight"] = {64, 64, 1, 1};
}

Shapes sd1() {
  Shapes s = unet(128, false);
  clip(s, "cond_stage_model.transformer.text_model.");
  vae(s, "first_stage_model.");
  return s;
}

Shapes sd2(int layers = 24) {
  Shapes s = unet(128, true);
  open_clip(s, "cond_stage_model.model.", layers);
  vae(s, "first_stage_model.");
  return s;
}

Shapes sdxl() {
  Shapes s = unet(256, true);
  clip(s, "conditioner.embedders.0.transformer.text_model.");
  open_clip(s, "conditioner.embedders.1.model.", 3);
  s["model.diffusion_model.label_emb.0.0.weight"] = {256, 32 + 6 * 16};
  vae(s, "first_stage_model.");
  return s;
}

class OriginalLayout : public testing::Test {
 protected:
  // What the file is taken for; its text where it is refused.
  ModelFiles open(const Shapes& shapes, const std::map<std::string, std::vector<float>>& values = {},
                  const Json& metadata = {}) {
    warnings.clear();
    return open_model(write(scratch_ / "model.safetensors", shapes, values, metadata),
                      [this](const std::string& text) { warnings.push_back(text); });
  }
  std::string refusal(const Shapes& shapes) {
    return message_of(Fault::input, [&] { open(shapes); });
  }
  std::vector<std::string> warnings;
  Scratch scratch_;
};

TEST_F(OriginalLayout, ReadsTheUNetsStructure) {
  const ModelFiles m = open(sd1());
  EXPECT_EQ(m.index.string("_class_name", ""), "StableDiffusionPipeline");
  const Json c = m.at("unet").config.json();
  EXPECT_EQ(c["block_out_channels"], (Json{64, 128}));
  EXPECT_EQ(c["layers_per_block"], (Json{1, 1}));
  EXPECT_EQ(c["down_block_types"], (Json{"CrossAttnDownBlock2D", "DownBlock2D"}));
  EXPECT_EQ(c["up_block_types"], (Json{"UpBlock2D", "CrossAttnUpBlock2D"}));
  EXPECT_EQ(c["attention_head_dim"], (Json{8, 8}));
  EXPECT_EQ(c["transformer_layers_per_block"], (Json{{1}, {2}}));  // the second is the middle block's
  EXPECT_EQ(c["cross_attention_dim"], 128);
  EXPECT_EQ(c["use_linear_projection"], false);
  EXPECT_EQ(c["mid_block_type"], "UNetMidBlock2DCrossAttn");
  EXPECT_EQ(c["sample_size"], 64);
  const Locate& at = m.at("unet").locate;
  const std::string u = "model.diffusion_model.";
  EXPECT_EQ(at("down_blocks.1.resnets.0.conv2.bias").name, u + "input_blocks.3.0.out_layers.3.bias");
  EXPECT_EQ(at("down_blocks.0.downsamplers.0.conv.weight").name, u + "input_blocks.2.0.op.weight");
  EXPECT_EQ(at("up_blocks.0.upsamplers.0.conv.bias").name, u + "output_blocks.1.1.conv.bias");
  EXPECT_EQ(at("up_blocks.1.attentions.1.norm.weight").name, u + "output_blocks.3.1.norm.weight");
  EXPECT_EQ(at("mid_block.resnets.1.norm1.weight").name, u + "middle_block.2.in_layers.0.weight");
  EXPECT_EQ(at("conv_norm_out.weight").name, u + "out.0.weight");
  EXPECT_TRUE(warnings.empty());
}

TEST_F(OriginalLayout, ReadsTheAutoencodersStructure) {
  const ModelFiles m = open(sd1());
  const Json c = m.at("vae").config.json();
  EXPECT_EQ(c["block_out_channels"], (Json{32, 64}));
  EXPECT_EQ(c["layers_per_block"], 2);
  EXPECT_EQ(c["latent_channels"], 4);
  EXPECT_EQ(c["scaling_factor"], 0.18215);
  const Locate& at = m.at("vae").locate;
  EXPECT_EQ(at("decoder.up_blocks.0.resnets.1.conv_shortcut.weight").name,
            "first_stage_model.decoder.up.1.block.1.nin_shortcut.weight");
  EXPECT_EQ(at("encoder.mid_block.attentions.0.to_out.0.bias").name,
            "first_stage_model.encoder.mid.attn_1.proj_out.bias");
  EXPECT_EQ(at("encoder.down_blocks.0.downsamplers.0.conv.weight").name,
            "first_stage_model.encoder.down.0.downsample.conv.weight");
  EXPECT_EQ(at("decoder.conv_norm_out.weight").name, "first_stage_model.decoder.norm_out.weight");
}

TEST_F(OriginalLayout, StableDiffusion2HasOpenClipWithoutItsLastLayer) {
  const ModelFiles m = open(sd2());
  const Component& text = m.at("text_encoder");
  EXPECT_EQ(text.config.integer("num_hidden_layers", 0), 23);
  EXPECT_EQ(text.config.integer("num_attention_heads", 0), 2);  // 64 wide each
  EXPECT_EQ(text.config.string("hidden_act", ""), "gelu");
  const Place k = text.locate("text_model.encoder.layers.5.self_attn.k_proj.bias");
  EXPECT_EQ(k.name, "cond_stage_model.model.transformer.resblocks.5.attn.in_proj_bias");
  EXPECT_EQ(k.part, 1);
  EXPECT_EQ(k.parts, 3);
  EXPECT_EQ(m.at("unet").config.json()["attention_head_dim"], (Json{1, 2}));
  EXPECT_EQ(tokenizer_of(m.at("text_encoder"))->pad_id(), 0);
  // A file with 23 layers has left the last one out already.
  EXPECT_EQ(open(sd2(23)).at("text_encoder").config.integer("num_hidden_layers", 0), 23);
}

TEST_F(OriginalLayout, StableDiffusion2sPredictionTypeShowsInABias) {
  const std::string bias = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias";
  std::vector<float> wide(64), narrow(64);
  for (int i = 0; i < 64; ++i) wide[i] = i % 2 ? 0.1f : -0.1f, narrow[i] = wide[i] / 2;
  EXPECT_EQ(open(sd2(), {{bias, wide}}).scheduler.string("prediction_type", ""), "v_prediction");
  EXPECT_EQ(open(sd2(), {{bias, wide}}).at("unet").config.integer("sample_size", 0), 96);
  EXPECT_EQ(open(sd2(), {{bias, narrow}}).scheduler.string("prediction_type", ""), "epsilon");
  EXPECT_EQ(open(sd2(), {{bias, narrow}}).at("unet").config.integer("sample_size", 0), 64);
  // The step count that the training left says more.
  Shapes trained = sd2();
  trained["global_step"] = {1};
  EXPECT_EQ(open(trained, {{bias, wide}, {"global_step", {875000}}}).scheduler.string("prediction_type", ""),
            "epsilon");
  EXPECT_EQ(open(trained, {{bias, narrow}, {"global_step", {110000}}}).scheduler.string("prediction_type", ""),
            "v_prediction");
}

TEST_F(OriginalLayout, SdxlHasTwoEncodersAndSizes) {
  const ModelFiles m = open(sdxl());
  EXPECT_EQ(m.index.string("_class_name", ""), "StableDiffusionXLPipeline");
  const Json c = m.at("unet").config.json();
  EXPECT_EQ(c["addition_time_embed_dim"], 16);
  EXPECT_EQ(c["projection_class_embeddings_input_dim"], 128);
  EXPECT_EQ(c["sample_size"], 128);
  EXPECT_EQ(m.at("vae").config.json()["scaling_factor"], 0.13025);
  EXPECT_EQ(m.at("text_encoder_2").config.integer("num_hidden_layers", 0), 3);
  EXPECT_TRUE(m.at("text_encoder_2").locate("text_projection.weight").transposed);
  EXPECT_EQ(tokenizer_of(m.at("text_encoder"))->pad_id(), 49407);
  EXPECT_EQ(tokenizer_of(m.at("text_encoder_2"))->pad_id(), 0);
  EXPECT_EQ(m.scheduler.string("prediction_type", "epsilon"), "epsilon");

  Shapes v = sdxl();
  v["v_pred"] = v["ztsnr"] = {0};
  EXPECT_EQ(open(v).scheduler.string("prediction_type", ""), "v_prediction");
  EXPECT_TRUE(open(v).scheduler.boolean("rescale_betas_zero_snr", false));
  EXPECT_TRUE(warnings.empty());
}

// ComfyUI's merges have the whole of CLIP, whose projection no Stable Diffusion has.
TEST_F(OriginalLayout, ClipsOwnProjectionIsALeftover) {
  Shapes first = sd1(), both = sdxl();
  first["cond_stage_model.transformer.text_projection.weight"] = {128, 128};
  both["conditioner.embedders.0.transformer.text_projection.weight"] = {128, 128};
  for (const Shapes& s : {first, both}) {
    const ModelFiles m = open(s);
    EXPECT_FALSE(m.at("text_encoder").type->projects);
    EXPECT_TRUE(warnings.empty());
  }
  EXPECT_TRUE(open(both).at("text_encoder_2").type->projects);
}

// A network that takes the guidance scale is a latent consistency model.
TEST_F(OriginalLayout, WhatTakesTheGuidanceScaleDrawsInFourSteps) {
  const std::string key = "model.diffusion_model.time_embed.cond_proj.weight";
  Shapes s = sd1();
  s[key] = {64, 32};
  const ModelFiles m = open(s);
  EXPECT_EQ(m.index.string("_class_name", ""), "LatentConsistencyModelPipeline");
  EXPECT_EQ(m.scheduler.string("_class_name", ""), "LCMScheduler");
  EXPECT_EQ(m.scheduler.string("beta_schedule", ""), "scaled_linear");
  const Json four = {{"steps", 4}, {"guidance_scale", 8.5}};
  EXPECT_EQ(m.said.at(0).json(), four);
  EXPECT_EQ(m.at("unet").config.integer("time_cond_proj_dim", 0), 32);
  Shapes xl = sdxl();
  xl[key] = {64, 32};
  EXPECT_EQ(open(xl).index.string("_class_name", ""), "StableDiffusionXLPipeline");
  EXPECT_EQ(open(xl).scheduler.string("_class_name", ""), "LCMScheduler");
  EXPECT_EQ(open(xl).said.at(0).json(), four);
}

TEST_F(OriginalLayout, MetadataSayWhatWasTrained) {
  const auto prediction = [this](const Shapes& s, const Json& metadata) {
    const std::string bias = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias";
    std::vector<float> wide(64);
    for (int i = 0; i < 64; ++i) wide[i] = i % 2 ? 0.1f : -0.1f;
    const ModelFiles m = s.contains("cond_stage_model.model.ln_final.weight") ? open(s, {{bias, wide}}, metadata)
                                                                              : open(s, {}, metadata);
    return m.scheduler.string("prediction_type", "none");
  };
  const auto spec = [](const char* key, const char* value) { return Json{{concat("modelspec.", key), value}}; };
  EXPECT_EQ(prediction(sdxl(), spec("prediction_type", "v")), "v_prediction");
  EXPECT_EQ(prediction(sd1(), spec("prediction_type", "v")), "v_prediction");
  EXPECT_EQ(prediction(sd1(), spec("prediction_type", "other")), "none");
  EXPECT_EQ(prediction(sd2(), spec("prediction_type", "epsilon")), "epsilon") << "the bias says v";
  EXPECT_EQ(prediction(sd1(), spec("architecture", "stable-diffusion-v2-768-v")), "v_prediction");
  Shapes key = sdxl();
  key["v_pred"] = {0};
  EXPECT_EQ(prediction(key, spec("prediction_type", "epsilon")), "v_prediction") << "a key is no default";

  EXPECT_EQ(open(sdxl(), {}, spec("resolution", "512x768")).said.at(0).json(), (Json{{"width", 512}, {"height", 768}}));
  for (const char* nonsense : {"", "512", "512x", "512x512x", "0x0", "500x500", "99999x64", "512x-512"})
    EXPECT_EQ(open(sdxl(), {}, spec("resolution", nonsense)).said.at(0).json(), Json::object()) << nonsense;
}

// Some writers turned OpenCLIP's bare parameter into the weight of a Linear, which is its transpose.
TEST_F(OriginalLayout, AProjectionMayBeALinear) {
  Shapes s = sdxl();
  s.erase("conditioner.embedders.1.model.text_projection");
  s["conditioner.embedders.1.model.text_projection.weight"] = {32, 128};
  const ModelFiles m = open(s);
  const Place place = m.at("text_encoder_2").locate("text_projection.weight");
  EXPECT_EQ(place.name, "conditioner.embedders.1.model.text_projection.weight");
  EXPECT_FALSE(place.transposed);
  EXPECT_EQ(m.at("text_encoder_2").config.integer("projection_dim", 0), 32);
}

TEST_F(OriginalLayout, TheRefinerHasOneEncoderAndAScore) {
  Shapes s = unet(128, true);
  open_clip(s, "conditioner.embedders.0.model.", 3);
  s["model.diffusion_model.label_emb.0.0.weight"] = {256, 32 + 5 * 16};
  vae(s, "first_stage_model.");
  const ModelFiles m = open(s);
  EXPECT_EQ(m.index.string("_class_name", ""), "StableDiffusionXLImg2ImgPipeline");
  EXPECT_TRUE(m.index.boolean("requires_aesthetics_score", false));
  EXPECT_EQ(m.find("text_encoder"), nullptr);
  EXPECT_EQ(m.at("unet").config.json()["addition_time_embed_dim"], 16);
}

TEST_F(OriginalLayout, CutNetworksAreReadToo) {
  Shapes s = sdxl();  // SSD-1B's middle block is one resnet
  std::erase_if(s, [](const auto& entry) { return entry.first.find("middle_block.1") != std::string::npos; });
  EXPECT_EQ(open(s).at("unet").config.json()["mid_block_type"], "UNetMidBlock2D");
  std::erase_if(s, [](const auto& entry) { return entry.first.find("middle_block") != std::string::npos; });
  EXPECT_TRUE(open(s).at("unet").config.json()["mid_block_type"].is_null());
  Shapes nine = sd1();
  nine["model.diffusion_model.input_blocks.0.0.weight"] = {64, 9, 3, 3};
  EXPECT_EQ(open(nine).index.string("_class_name", ""), "StableDiffusionInpaintPipeline");
}

TEST_F(OriginalLayout, LeftoversAreNoNews) {
  Shapes s = sd1();
  s["model_ema.diffusion_modelinput_blocks00weight"] = s["alphas_cumprod"] = s["betas"] = {3};
  s["cond_stage_model.transformer.text_model.embeddings.position_ids"] = {1, 77};
  open(s);
  EXPECT_TRUE(warnings.empty());
  s["some.other.network.weight"] = {2};
  open(s);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_CONTAINS(warnings[0], "some.other.network.weight");
}

TEST_F(OriginalLayout, SaysWhatAFileIsThatIsNoCheckpoint) {
  EXPECT_CONTAINS(refusal({{"lora_unet_x.lora_down.weight", {1, 2}}}), "LoRA");
  EXPECT_CONTAINS(refusal({{"control_model.zero_convs.0.0.weight", {1}}}), "ControlNet");
  Shapes alone;
  vae(alone, "");
  EXPECT_CONTAINS(refusal(alone), "vae takes it");
  EXPECT_CONTAINS(refusal({{"x", {1}}}), "'x'");
  Shapes edm = sdxl();
  edm["edm_vpred.sigma_max"] = {1};
  EXPECT_CONTAINS(refusal(edm), "edm_vpred.sigma_max");
}

TEST_F(OriginalLayout, SaysWhatIsMissingOrDoesNotFit) {
  Shapes s = sd1();
  std::erase_if(s, [](const auto& entry) { return entry.first.starts_with("cond_stage_model"); });
  EXPECT_CONTAINS(refusal(s), "no text encoder");
  s = sdxl();
  std::erase_if(s, [](const auto& entry) { return entry.first.starts_with("conditioner.embedders.0"); });
  EXPECT_CONTAINS(refusal(s), "not its first");
  s = sdxl();
  s["model.diffusion_model.label_emb.0.0.weight"] = {256, 100};
  EXPECT_CONTAINS(refusal(s), "100");
  s = sd1();
  s.erase("model.diffusion_model.time_embed.0.weight");
  EXPECT_CONTAINS(refusal(s), "model.diffusion_model.time_embed.0.weight");
  s = sd1();
  s["model.diffusion_model.time_embed.0.weight"] = {};  // a scalar
  EXPECT_CONTAINS(refusal(s), "0 dimensions");
  // One tensor is missing, and the message is its name, not what follows from that.
  for (const char* name :
       {"conditioner.embedders.1.model.text_projection", "model.diffusion_model.label_emb.0.0.weight",
        "model.diffusion_model.input_blocks.0.0.weight",
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"}) {
    s = sdxl();
    s.erase(name);
    EXPECT_CONTAINS(refusal(s), concat("no tensor '", name, "'"));
  }
  for (Shapes one : {sd1(), sd2()}) {
    std::erase_if(one, [](const auto& entry) {
      return entry.first.ends_with("final_layer_norm.weight") || entry.first.ends_with("ln_final.weight");
    });
    open(one);  // whoever builds the encoder says it
    EXPECT_TRUE(warnings.empty());
  }
  s = sd1();
  s.erase("model.diffusion_model.output_blocks.3.0.in_layers.2.weight");
  EXPECT_CONTAINS(refusal(s), "expected one more");
  s = sd1();
  std::erase_if(s, [](const auto& entry) { return entry.first.starts_with("first_stage"); });
  EXPECT_CONTAINS(message_of(Fault::input, [&] { open(s).at("vae"); }), "name an autoencoder with vae");
}

TEST_F(OriginalLayout, AutoencoderFilesStandForTheModelsOwn) {
  Shapes s;
  vae(s, "");
  const Component original = open_vae(write(scratch_ / "vae.safetensors", s), 0.5);
  EXPECT_EQ(original.config.json()["scaling_factor"], 0.5);
  EXPECT_EQ(original.locate("decoder.up_blocks.1.resnets.0.norm1.weight").name, "decoder.up.0.block.0.norm1.weight");
  Shapes diffusers{{"decoder.conv_in.weight", {64, 4, 3, 3}},
                   {"decoder.mid_block.attentions.0.query.weight", {64, 64}}};
  for (const int i : {0, 1})
    for (const int j : {0, 1})
      diffusers[concat("decoder.up_blocks.", i, ".resnets.", j, ".conv1.weight")] = {64 / (i + 1), 64, 3, 3};
  const Component old = open_vae(write(scratch_ / "old.safetensors", diffusers), 0.5);
  EXPECT_EQ(old.config.json()["block_out_channels"], (Json{32, 64}));
  EXPECT_EQ(old.config.json()["use_quant_conv"], false);
  EXPECT_EQ(old.locate("decoder.mid_block.attentions.0.to_q.weight").name,
            "decoder.mid_block.attentions.0.query.weight");
  EXPECT_CONTAINS(message_of(Fault::input,
                             [&] {
                               open_vae(write(scratch_ / "x.safetensors", {{"x", {1}}}), 1);
                             }),
                  "no autoencoder");
}

TEST_F(OriginalLayout, PicklesAreRefusedWithTheWayOut) {
  for (const char* name : {"model.ckpt", "model.pt", "model.bin"}) {
    std::ofstream(scratch_ / name) << "\x80\x02";
    EXPECT_CONTAINS(message_of(Fault::input, [&] { open_model(scratch_ / name, [](const std::string&) {}); }),
                    "save_file");
  }
}

TEST_F(OriginalLayout, TinyAutoencodersInTheirMakersNames) {
  Shapes shapes;
  const auto conv = [&shapes](const std::string& name, std::int64_t out, std::int64_t in, bool bias = true) {
    shapes[name + ".weight"] = {out, in, 3, 3};
    if (bias) shapes[name + ".bias"] = {out};
  };
  const auto block = [&conv](const std::string& name) {
    for (const char* part : {".conv.0", ".conv.2", ".conv.4"}) conv(name + part, 8, 8);
  };
  // Three levels of 2, 1 and 0 blocks, then two levels' doublings (no tensors) before a convolution without bias.
  conv("1", 8, 4), block("3"), block("4"), conv("6", 8, 8, false), block("7"), conv("9", 8, 8, false), conv("10", 3, 8);
  const Component vae = open_vae(write(scratch_ / "taesd_decoder.safetensors", shapes), 0.18215);
  EXPECT_EQ(vae.config.string("_class_name", ""), "AutoencoderTiny");
  EXPECT_EQ(vae.config.integers("num_decoder_blocks"), (std::vector<std::int64_t>{2, 1, 0}));
  EXPECT_EQ(vae.config.integer("latent_channels", 0), 4);
  EXPECT_EQ(vae.locate("decoder.layers.5.weight").name, "6.weight");
  EXPECT_EQ(vae.locate("encoder.layers.0.weight").name, "encoder.layers.0.weight");  // there is none

  shapes.erase("9.weight");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { open_vae(write(scratch_ / "cut.safetensors", shapes), 1); }),
                  "incomplete");
}

TEST(ReadValues, OfEveryFloatingType) {
  Scratch scratch;
  const fs::path path = scratch / "v.safetensors";
  const std::string header =
      R"({"h":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[6,8]},)"
      R"("i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},"u":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}})";
  const std::uint64_t length = header.size();
  const unsigned char data[] = {0x00, 0xC0, 0x00, 0x3C, 0x01, 0x00, 0x80, 0x3F, 7, 0, 0, 0, 0, 0, 0, 0, 1};
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), 8)
      .write(header.data(), header.size())
      .write(reinterpret_cast<const char*>(data), sizeof data);
  const TensorTable table({path});
  EXPECT_EQ(read_values(table, "h"), (std::vector<double>{-2, 1, 0x1p-24}));
  EXPECT_EQ(read_values(table, "b"), std::vector<double>{1});
  EXPECT_EQ(read_values(table, "i"), std::vector<double>{7});
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_values(table, "u"); }), "U8");
}

}  // namespace
}  // namespace sdgen
