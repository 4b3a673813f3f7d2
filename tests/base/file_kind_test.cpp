// What weight files are taken for, by names and shapes alone.
#include "formats/file_kind.h"

#include <gtest/gtest.h>

#include "base/tables.h"
#include "formats/lora_summary.h"
#include "formats/model_files.h"
#include "io/pickle.h"

namespace sdgen {
namespace {

class FileKindTest : public testing::Test {
 protected:
  TensorTable table(const Shapes& shapes) const {
    return TensorTable({write_table(scratch_, "x.safetensors", shapes)});
  }
  FileSummary summary(const Shapes& shapes) const { return summarize_file(table(shapes)); }
  Scratch scratch_;
};

// The name of the kind, what it is called, family and layout.
std::string print(const FileSummary& file) { return concat(file.name, '|', file.family, '|', file.layout); }

const std::string kUnet = "model.diffusion_model.";

TEST_F(FileKindTest, KnowsCheckpointsAndTheirParts) {
  const std::string attention = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight";
  const Shapes unet = {
      {"input_blocks.0.0.weight", {8, 4, 3, 3}}, {attention, {8, 768}}, {"output_blocks.0.0.weight", {1}}};
  EXPECT_EQ(print(summary(unet)), "U-Net|Stable Diffusion 1|original");
  Shapes prefixed;
  for (const auto& [name, shape] : unet) prefixed[kUnet + name] = shape;
  EXPECT_EQ(summary(prefixed).kind, FileKind::component);
  EXPECT_EQ(summary(prefixed).part, &model_part("unet"));
  prefixed["cond_stage_model.transformer.text_model.final_layer_norm.weight"] = {8};
  EXPECT_EQ(summary(prefixed).kind, FileKind::checkpoint);

  EXPECT_EQ(print(summary({{"conv_in.weight", {8, 4, 3, 3}},
                           {"up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight", {8, 2048}}})),
            "U-Net|SDXL|diffusers");
  EXPECT_EQ(print(summary({{"decoder.conv_in.weight", {8, 4, 3, 3}}, {"decoder.up.0.block.0.norm1.weight", {8}}})),
            "autoencoder||original");
  EXPECT_EQ(print(summary({{"decoder.conv_in.weight", {8, 4, 3, 3}}})), "autoencoder||diffusers");
  EXPECT_EQ(print(summary({{"text_model.embeddings.token_embedding.weight", {10, 768}}})),
            "CLIP text encoder|Stable Diffusion 1 or SDXL|diffusers");
  EXPECT_EQ(print(summary({{"token_embedding.weight", {10, 1024}}, {"transformer.resblocks.0.ln_1.weight", {8}}})),
            "OpenCLIP text encoder|Stable Diffusion 2|original");
}

TEST_F(FileKindTest, KnowsWhatSteers) {
  EXPECT_EQ(print(summary({{"controlnet_cond_embedding.conv_in.weight", {8, 3, 3, 3}},
                           {"conv_in.weight", {8, 4, 3, 3}},
                           {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", {8, 768}}})),
            "ControlNet|Stable Diffusion 1|diffusers");
  EXPECT_EQ(print(summary({{"control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", {8, 1024}}})),
            "ControlNet|Stable Diffusion 2|original");
  EXPECT_EQ(summary({{"zero_convs.0.0.weight", {8}}, {"input_hint_block.0.weight", {8}}}).kind, FileKind::controlnet);
  EXPECT_EQ(print(summary(
                {{"controlnet_x_embedder.weight", {8, 64}}, {"single_transformer_blocks.0.norm.linear.bias", {8}}})),
            "ControlNet|Flux|diffusers");
  EXPECT_EQ(print(summary({{"controlnet_blocks.0.weight", {8, 8}}, {"double_blocks.0.img_mod.lin.bias", {8}}})),
            "ControlNet|Flux|original");
  EXPECT_EQ(
      print(summary({{"pos_embed_input.proj.weight", {8, 16, 2, 2}}, {"transformer_blocks.0.attn.to_q.bias", {8}}})),
      "ControlNet|Stable Diffusion 3|diffusers");
  EXPECT_EQ(
      print(summary({{"pos_embed_input.proj.weight", {8, 16, 2, 2}}, {"transformer_blocks.0.attn.qkv.bias", {8}}})),
      "ControlNet|Stable Diffusion 3|original");
  EXPECT_EQ(summary({{"lora_controlnet", {1}}, {"a.down", {8}}}).name, "Control-LoRA");
  EXPECT_EQ(
      print(summary({{"adapter.body.0.resnets.0.block1.weight", {8}}, {"adapter.conv_in.weight", {8, 768, 3, 3}}})),
      "T2I-Adapter|SDXL|diffusers");
  EXPECT_EQ(print(summary({{"body.0.block1.weight", {8}}, {"conv_in.weight", {8, 192, 3, 3}}})),
            "T2I-Adapter||original");
  // FaceID: an IP-Adapter with LoRAs inside.
  EXPECT_EQ(print(summary({{"image_proj.proj.weight", {8}},
                           {"ip_adapter.0.to_k_lora.down.weight", {4, 8}},
                           {"ip_adapter.1.to_k_ip.weight", {8, 2048}}})),
            "IP-Adapter|SDXL|");
}

TEST_F(FileKindTest, KnowsEmbeddingsTransformersAndStrangers) {
  EXPECT_EQ(print(summary({{"emb_params", {4, 768}}})), "textual inversion|Stable Diffusion 1|");
  EXPECT_EQ(print(summary({{"<cat-toy>", {1024}}})), "textual inversion|Stable Diffusion 2|");
  EXPECT_EQ(print(summary({{"clip_l", {2, 768}}, {"clip_g", {2, 1280}}})), "textual inversion|SDXL|");
  EXPECT_EQ(print(summary({{"model.diffusion_model.joint_blocks.0.x", {8}}})),
            "diffusion transformer|Stable Diffusion 3|original");
  EXPECT_EQ(print(summary({{"joint_blocks.0.x_block.attn.ln_q.weight", {8}}})),
            "diffusion transformer|Stable Diffusion 3.5|original");
  EXPECT_EQ(print(summary({{"joint_blocks.0.x", {8}}, {"text_encoders.clip_l.transformer.x", {8}}})),
            "checkpoint|Stable Diffusion 3|original");
  EXPECT_EQ(print(summary({{"transformer_blocks.0.attn.add_q_proj.weight", {8}}, {"pos_embed.pos_embed", {8}}})),
            "diffusion transformer|Stable Diffusion 3|diffusers");
  EXPECT_EQ(print(summary({{"t_block.1.weight", {8}}})), "diffusion transformer|PixArt|original");
  EXPECT_EQ(print(summary({{"adaln_single.linear.weight", {8}}, {"transformer_blocks.0.attn1.to_q.weight", {8}}})),
            "diffusion transformer|PixArt|diffusers");
  EXPECT_EQ(print(summary({{"transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight", {8}}})),
            "diffusion transformer|DiT|");
  EXPECT_EQ(print(summary({{"cap_pad_token", {8}}, {"layers.0.attention.qkv.weight", {8}}})),
            "diffusion transformer|Z-Image|original");
  EXPECT_EQ(print(summary({{"cap_pad_token", {8}}, {"all_x_embedder.2-1.weight", {8}}})),
            "diffusion transformer|Z-Image|diffusers");
  EXPECT_EQ(print(summary({{"model.diffusion_model.cap_embedder.0.weight", {8}},
                           {"model.diffusion_model.context_refiner.0.attention.qkv.weight", {8}}})),
            "diffusion transformer|Lumina-Image 2|original");
  EXPECT_EQ(print(summary({{"time_caption_embed.caption_embedder.0.weight", {8}}})),
            "diffusion transformer|Lumina-Image 2|diffusers");
  EXPECT_EQ(print(summary({{"double_blocks.0.img_attn.qkv.weight", {8}}})), "diffusion transformer|Flux|original");
  EXPECT_EQ(print(summary({{"single_transformer_blocks.0.attn.to_q.weight", {8}}})),
            "diffusion transformer|Flux|diffusers");
  EXPECT_EQ(print(summary({{"double_blocks.0.x", {8}}, {"distilled_guidance_layer.x", {8}}})),
            "diffusion transformer|Chroma|original");
  EXPECT_EQ(print(summary({{"double_blocks.0.x", {8}}, {"double_stream_modulation_img.lin.weight", {8}}})),
            "diffusion transformer|FLUX.2|original");
  EXPECT_EQ(print(summary({{"double_stream_modulation_img.linear.weight", {8}}})),
            "diffusion transformer|FLUX.2|diffusers");
  EXPECT_EQ(summary({{"down_blocks.0.motion_modules.0.x", {8}}}).kind, FileKind::other);
  EXPECT_EQ(summary({{"encoder.block.0.layer.0.SelfAttention.q.weight", {8}}}).name, "T5 text encoder");
  for (const Shapes& unknown : {Shapes{}, {{"x", {3, 4}}}, {{"x", {}}}, {{"weight", {768}}, {"bias", {768}}}})
    EXPECT_EQ(summary(unknown).kind, FileKind::unknown);
}

TEST_F(FileKindTest, LorasTellTheirMakingByNames) {
  const std::string module = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
  const LoraSummary kohya =
      summarize_lora(table({{"lora_unet_" + module + ".lora_down.weight", {8, 768}},
                            {"lora_unet_" + module + ".lora_up.weight", {16, 8}},
                            {"lora_unet_" + module + ".alpha", {}},
                            {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", {4, 9}},
                            {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", {9, 4}}}));
  EXPECT_EQ(kohya.algorithms, std::set<std::string>{"LoRA"});
  EXPECT_EQ(kohya.spellings, std::set<std::string>{"kohya"});
  EXPECT_EQ(kohya.modules, (std::map<std::string, std::size_t>{{"unet", 1}, {"text_encoder", 1}}));
  EXPECT_EQ(kohya.ranks, (std::map<std::int64_t, std::size_t>{{8, 1}, {4, 1}}));
  EXPECT_EQ(kohya.family, "Stable Diffusion 1");

  const std::string dotted = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.";
  const LoraSummary peft = summarize_lora(table({{"unet." + dotted + "to_k.lora_A.weight", {16, 2048}},
                                                 {"unet." + dotted + "to_k.lora_B.weight", {8, 16}},
                                                 {"unet." + dotted + "to_k.lora_magnitude_vector", {8}},
                                                 {"text_encoder_2.text_model.x.lora_A.weight", {16, 1280}}}));
  EXPECT_EQ(peft.algorithms, std::set<std::string>{"DoRA"});
  EXPECT_EQ(peft.spellings, std::set<std::string>{"PEFT"});
  EXPECT_EQ(peft.modules, (std::map<std::string, std::size_t>{{"unet", 1}, {"text_encoder_2", 1}}));
  EXPECT_EQ(peft.family, "SDXL");

  const LoraSummary old = summarize_lora(table(
      {{dotted + "processor.to_k_lora.down.weight", {4, 1024}}, {dotted + "processor.to_k_lora.up.weight", {8, 4}}}));
  EXPECT_EQ(old.spellings, std::set<std::string>{"diffusers"});
  EXPECT_EQ(old.modules, (std::map<std::string, std::size_t>{{"unet", 1}}));
  EXPECT_EQ(old.family, "Stable Diffusion 2");

  const LoraSummary loha = summarize_lora(table({{"lycoris_" + module + ".hada_w1_a", {8, 4}},
                                                 {"lycoris_" + module + ".hada_w1_b", {4, 768}},
                                                 {"lycoris_" + module + ".hada_w2_a", {8, 4}},
                                                 {"lycoris_" + module + ".hada_w2_b", {4, 768}}}));
  EXPECT_EQ(loha.algorithms, std::set<std::string>{"LoHa"});
  EXPECT_EQ(loha.ranks, (std::map<std::int64_t, std::size_t>{{4, 1}}));
  EXPECT_EQ(loha.family, "Stable Diffusion 1");
  EXPECT_EQ(loha.modules, (std::map<std::string, std::size_t>{{"unet", 1}}));

  const LoraSummary lokr = summarize_lora(table({{"lora_unet_" + module + ".lokr_w1", {4, 16}},
                                                 {"lora_unet_" + module + ".lokr_w2_a", {8, 2}},
                                                 {"lora_unet_" + module + ".lokr_w2_b", {2, 128}}}));
  EXPECT_EQ(lokr.algorithms, std::set<std::string>{"LoKr"});
  EXPECT_EQ(lokr.family, "SDXL");  // 16 x 128
  EXPECT_EQ(lokr.ranks, (std::map<std::int64_t, std::size_t>{{2, 1}}));

  EXPECT_EQ(summarize_lora(table({{"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", {4, 8}}})).family,
            "Flux");
}

TEST_F(FileKindTest, ModelOptionsRefuseInTheSameWords) {
  const auto refusal = [&](const Shapes& shapes) {
    const auto path = write_table(scratch_, "x.safetensors", shapes);
    return message_of(Fault::input, [&] { open_model(path, [](const std::string&) {}); });
  };
  EXPECT_CONTAINS(refusal({{"lora_unet_x_attn2_to_k.lora_down.weight", {4, 2048}}}),
                  "x.safetensors: this is a LoRA for SDXL, which changes a model but is none");
  EXPECT_CONTAINS(refusal({{"lora_unet_x_attn2_to_k.oft_blocks", {3, 4, 2, 2}}}), "this is a LoRA (BOFT), which");
  EXPECT_CONTAINS(
      refusal({{"lora_unet_x.oft_blocks", {4, 2, 2}}, {"lora_unet_y.weight", {4}}, {"lora_unet_y.on_input", {}}}),
      "this is a LoRA ((IA)^3 and OFT), which");
  EXPECT_CONTAINS(refusal({{"lllite_unet_x.conditioning1.0.weight", {4, 3, 4, 4}}}),
                  "this is a ControlNet-LLLite, which is");
  EXPECT_CONTAINS(refusal({{"768.0.linear.0.weight", {4, 768}}}), "this is a hypernetwork, which is not supported");
  EXPECT_CONTAINS(refusal({{"style_embedding", {1, 8, 1024}}}), "this is a style adapter");
  EXPECT_CONTAINS(refusal({{"ip_adapter.1.to_k_ip.weight", {8, 768}}}), "this is an IP-Adapter for Stable Diffusion 1");
  EXPECT_CONTAINS(refusal({{"transformer_blocks.0.norm1.emb.class_embedder.x", {4}}}),
                  "a diffusion transformer (DiT), which is not");
  EXPECT_CONTAINS(describe_file(table({{"joint_blocks.0.x", {4}}})),
                  "a diffusion transformer for Stable Diffusion 3; ");
  EXPECT_CONTAINS(refusal({{"emb_params", {4, 768}}}), "a textual inversion for Stable Diffusion 1");
  EXPECT_CONTAINS(refusal({{"x\x1b", {4}}}),
                  "no checkpoint of Stable Diffusion that is known (1 tensors, e.g. 'x\\x1b')");
  EXPECT_CONTAINS(refusal({}), "(0 tensors)");
}

TEST_F(FileKindTest, PicklesAreKnownByNameAndContent) {
  for (const char* name : {"a.ckpt", "a.pt", "a.pth", "a.bin"}) EXPECT_TRUE(is_pickle(scratch_.write(name, "")));
  EXPECT_TRUE(is_pickle(scratch_.write("zip", std::string_view("PK\x03\x04\0\0\x08\x08\0\0", 10))));
  EXPECT_TRUE(is_pickle(scratch_.write("old", std::string_view("\x80\x02\x8a\nl\xfc\x9c\x46\xf9\x20", 10))));
  EXPECT_TRUE(is_pickle(scratch_.write("new.safetensors", std::string_view("\x80\x04\x95\x0f\0\0\0\0\0", 9))));
  EXPECT_FALSE(is_pickle(scratch_.write("empty", "")));
  EXPECT_FALSE(is_pickle(scratch_.write("short", "\x80")));
  // A header of 0x280 bytes begins as pickles of protocol 2 do.
  std::string header = "{\"__metadata__\":{\"x\":\"";
  header += std::string(0x280 - header.size() - 3, ' ') + "\"}}";
  const auto path = scratch_.write("y.safetensors", safetensors_bytes(header));
  EXPECT_FALSE(is_pickle(path));
  EXPECT_TRUE(TensorTable({path}).tensors().empty());
}

}  // namespace
}  // namespace sdgen
