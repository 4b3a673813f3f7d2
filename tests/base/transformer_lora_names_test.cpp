// Transformers' modules in LoRA files: in diffusers' names, in their makers', where several are the rows of one, and in
// those that trainers made up. That the products are right is tools/parity.py's to show.
#include <gtest/gtest.h>

#include <set>

#include "base/tables.h"
#include "formats/file_kind.h"
#include "formats/lora_names.h"
#include "formats/lora_summary.h"
#include "formats/model_files.h"
#include "formats/transformer_names.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

struct Kind {
  Architecture architecture;
  const NameTable* names;
  int blocks;  // of each sort
};
const Kind kKinds[] = {
    {Architecture::flux_transformer, &kFluxNames, 2},       {Architecture::sd3_transformer, &kSd3Names, 3},
    {Architecture::pixart_transformer, &kPixArtNames, 2},   {Architecture::z_image_transformer, &kZImageNames, 2},
    {Architecture::lumina2_transformer, &kLumina2Names, 2}, {Architecture::flux2_transformer, &kFlux2Names, 2},
    {Architecture::chroma_transformer, &kChromaNames, 2}};

const Kind& kind_of(Architecture architecture) { return *std::ranges::find(kKinds, architecture, &Kind::architecture); }

// A small network's parameters: everything that the table has a name for.
LoraNames::Parameters parameters(const Kind& kind) {
  LoraNames::Parameters p;
  const auto add = [&p](const std::string& own, int count, int parts) {
    if (own.ends_with(".weight")) {
      p[own] = {16};
    } else if (!own.ends_with("scale_shift_table") && !own.ends_with("pos_embed.pos_embed")) {
      p[own + ".weight"] = {parts == 1 ? 48 : 12 * count, 8};
      p[own + ".bias"] = {p[own + ".weight"][0]};
    }
  };
  for (const NameRow& row : kind.names->outside) add(row.own, row.count, row.parts);
  for (const NumberedBlocks& blocks : kind.names->blocks)
    for (int i = 0; i < kind.blocks; ++i) {
      std::set<std::pair<std::string, int>> taken;  // a block has one of the modules that are called alike
      for (const NameRow& row : blocks.rows)
        if (taken.emplace(row.file, row.part).second) add(concat(blocks.own, i, '.', row.own), row.count, row.parts);
    }
  return p;
}

LoraNames names_of(const Kind& kind) {
  LoraNames n;
  n.add(model_part("transformer"), kind.architecture, parameters(kind));
  return n;
}

std::string module_of(const std::string& parameter) { return parameter.substr(0, parameter.rfind('.')); }

std::string underscored(std::string name) {
  for (char& c : name)
    if (c == '.') c = '_';
  return name;
}

// What people's files have before the names.
std::vector<std::string> spellings(const std::string& module) {
  std::vector<std::string> all;
  for (const char* prefix :
       {"", "transformer.", "diffusion_model.", "model.diffusion_model.", "unet.base_model.model."})
    all.push_back(prefix + module);
  for (const char* prefix : {"lora_unet_", "lora_transformer_", "lycoris_"})
    all.push_back(prefix + underscored(module));
  return all;
}

TEST(TransformerLoraNames, EveryModuleIsFoundInDiffusersNamesAndInItsMakers) {
  for (const Kind& kind : kKinds) {
    const LoraNames n = names_of(kind);
    const Locate locate = original_names(*kind.names, parameters(kind));
    for (const auto& [parameter, shape] : parameters(kind)) {
      if (!parameter.ends_with(".weight")) continue;
      const std::string own = module_of(parameter);
      const Place place = locate(parameter);
      for (const std::string& spelled : spellings(own)) {
        const LoraNames::Modules* found = n.find(spelled);
        ASSERT_TRUE(found) << spelled;
        ASSERT_EQ(found->size(), 1u) << spelled;
        EXPECT_EQ(found->front().name, own) << spelled;
        EXPECT_TRUE(found->front().rows.whole()) << spelled;
      }
      for (const std::string& spelled : spellings(module_of(place.name))) {
        const LoraNames::Modules* found = n.find(spelled);
        ASSERT_TRUE(found) << spelled;
        const auto module = std::ranges::find(*found, own, &LoraNames::Module::name);
        ASSERT_NE(module, found->end()) << spelled << " has no " << own;
        EXPECT_EQ(module->rows.part, place.part) << spelled;
        EXPECT_EQ(module->rows.parts, place.parts) << spelled;
        EXPECT_EQ(module->rows.count, place.count) << spelled;
        EXPECT_EQ(module->rows.swapped, place.swapped) << spelled;
        std::multiset<int> rows;  // each once
        for (const LoraNames::Module& one : *found)
          for (int i = 0; i < one.rows.count; ++i) rows.insert(one.rows.part + i);
        EXPECT_EQ(rows.size(), std::size_t(place.parts)) << spelled;
        for (int i = 0; i < place.parts; ++i) EXPECT_EQ(rows.count(i), 1u) << spelled << ' ' << i;
      }
    }
  }
}

struct Rows {
  std::string module;
  int part = 0, parts = 1, count = 1;
  bool swapped = false;
};

void expect_rows(const LoraNames& n, const std::string& key, const std::vector<Rows>& expected) {
  const auto taken = lora_key(key);
  ASSERT_TRUE(taken) << key;
  const LoraNames::Modules* found = n.find(taken->module);
  ASSERT_TRUE(found) << key << " -> " << taken->module;
  ASSERT_EQ(found->size(), expected.size()) << key;
  for (const Rows& one : expected) {
    const auto module = std::ranges::find(*found, one.module, &LoraNames::Module::name);
    ASSERT_NE(module, found->end()) << key << " has no " << one.module;
    EXPECT_EQ(module->part->name, std::string("transformer"));
    EXPECT_EQ(module->rows.part, one.part) << key;
    EXPECT_EQ(module->rows.parts, one.parts) << key;
    EXPECT_EQ(module->rows.count, one.count) << key;
    EXPECT_EQ(module->rows.swapped, one.swapped) << key;
  }
}

TEST(TransformerLoraNames, FluxsFilesOfPeople) {
  const LoraNames n = names_of(kind_of(Architecture::flux_transformer));
  const std::string block = "transformer_blocks.1.attn.", single = "single_transformer_blocks.0.";
  const std::vector<Rows> image = {{block + "to_q", 0, 3}, {block + "to_k", 1, 3}, {block + "to_v", 2, 3}};
  const std::vector<Rows> words = {
      {block + "add_q_proj", 0, 3}, {block + "add_k_proj", 1, 3}, {block + "add_v_proj", 2, 3}};
  const std::vector<Rows> linear1 = {{single + "attn.to_q", 0, 7},
                                     {single + "attn.to_k", 1, 7},
                                     {single + "attn.to_v", 2, 7},
                                     {single + "proj_mlp", 3, 7, 4}};
  const std::vector<Rows> three = {
      {single + "attn.to_q", 0, 3}, {single + "attn.to_k", 1, 3}, {single + "attn.to_v", 2, 3}};
  for (const auto& [key, rows] : std::vector<std::pair<std::string, std::vector<Rows>>>{
           {"lora_unet_double_blocks_1_img_attn_qkv.lora_down.weight", image},
           {"lora_unet_double_blocks_1_txt_attn_qkv.alpha", words},
           {"lora_unet_single_blocks_0_linear1.lora_up.weight", linear1},
           {"lora_unet_single_blocks_0_linear2.lora_up.weight", {{single + "proj_out"}}},
           {"lora_unet_single_blocks_0_modulation_lin.dora_scale", {{single + "norm.linear"}}},
           {"lora_unet_double_blocks_1_img_mod_lin.lora_up.weight", {{"transformer_blocks.1.norm1.linear"}}},
           {"lora_unet_double_blocks_1_img_mlp_0.lora_up.weight", {{"transformer_blocks.1.ff.net.0.proj"}}},
           {"lora_unet_time_in_in_layer.alpha", {{"time_text_embed.timestep_embedder.linear_1"}}},
           {"lora_unet_final_layer_linear.lora_up.weight", {{"proj_out"}}},
           {"lora_unet_final_layer_adaLN_modulation_1.lora_up.weight", {{"norm_out.linear", 0, 1, 1, true}}},
           {"diffusion_model.double_blocks.1.img_attn.qkv.lora_A.weight", image},
           {"double_blocks.1.txt_attn.proj.lora_B.weight", {{block + "to_add_out"}}},
           {"double_blocks.1.img_attn.norm.query_norm.diff", {{block + "norm_q"}}},
           {"double_blocks.1.processor.qkv_lora1.down.weight", image},
           {"double_blocks.1.processor.qkv_lora2.up.weight", words},
           {"double_blocks.1.processor.proj_lora1.up.weight", {{block + "to_out.0"}}},
           {"double_blocks.1.processor.proj_lora2.down.weight", {{block + "to_add_out"}}},
           {"single_blocks.0.processor.qkv_lora.down.weight", three},
           {"single_blocks.0.processor.proj_lora.up.weight", {{single + "proj_out"}}},
           {"transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight", {{single + "proj_mlp"}}},
           {"base_model.model.single_transformer_blocks.0.proj_mlp.lora_A.default.weight", {{single + "proj_mlp"}}},
           {"lora_transformer_single_transformer_blocks_0_attn_to_q.lora_down.weight", {{single + "attn.to_q"}}},
           {"lycoris_transformer_blocks_1_attn_to_out_0.lokr_w1", {{block + "to_out.0"}}}})
    expect_rows(n, key, rows);
  for (const char* strange : {"lora_unet_double_blocks_2_img_attn_qkv", "double_blocks.1.processor.qkv_lora3",
                              "lora_unet_double_blocks_1", "lora_unet_joint_blocks_0_x_block_attn_qkv"})
    EXPECT_FALSE(n.find(strange)) << strange;
}

TEST(TransformerLoraNames, ZImagesAndLumina2sFilesOfPeople) {
  const LoraNames z = names_of(kind_of(Architecture::z_image_transformer)),
                  lumina = names_of(kind_of(Architecture::lumina2_transformer));
  const std::string layer = "layers.1.attention.", refiner = "context_refiner.0.attention.";
  const std::vector<Rows> qkv = {{layer + "to_q", 0, 3}, {layer + "to_k", 1, 3}, {layer + "to_v", 2, 3}};
  for (const auto& [key, rows] : std::vector<std::pair<std::string, std::vector<Rows>>>{
           {"diffusion_model.layers.1.attention.to_q.lora_A.weight", {{layer + "to_q"}}},
           {"diffusion_model.layers.1.attention.qkv.lora_B.weight", qkv},
           {"diffusion_model.layers.1.attention.out.lora_B.weight", {{layer + "to_out.0"}}},
           {"transformer.layers.1.attention.to_out.0.lora_A.default.weight", {{layer + "to_out.0"}}},
           {"lora_unet_layers_1_attention_qkv.lora_down.weight", qkv},
           {"lora_unet_layers_1_attention_to_k.alpha", {{layer + "to_k"}}},
           {"lora_unet_context_refiner_0_attention_out.lora_up.weight", {{refiner + "to_out.0"}}},
           {"diffusion_model.layers.1.attention.to_v.lokr_w1", {{layer + "to_v"}}},
           {"diffusion_model.final_layer.linear.lora_A.weight", {{"all_final_layer.2-1.linear"}}}})
    expect_rows(z, key, rows);
  EXPECT_FALSE(z.find("diffusion_model.layers.2.attention.to_q"));
  const std::string block = "layers.0.";
  for (const auto& [key, rows] : std::vector<std::pair<std::string, std::vector<Rows>>>{
           {"diffusion_model.layers.0.attention.qkv.lora_A.weight",
            {{block + "attn.to_q", 0, 5, 3}, {block + "attn.to_k", 3, 5}, {block + "attn.to_v", 4, 5}}},
           {"diffusion_model.layers.0.feed_forward.w3.lora_B.weight", {{block + "feed_forward.linear_3"}}},
           {"diffusion_model.layers.0.adaLN_modulation.1.lora_B.weight", {{block + "norm1.linear"}}},
           {"transformer.layers.0.attn.to_out.0.lora_A.weight", {{block + "attn.to_out.0"}}}})
    expect_rows(lumina, key, rows);
}

TEST(TransformerLoraNames, StableDiffusion3sAndPixArtsFilesOfPeople) {
  const LoraNames sd3 = names_of(kind_of(Architecture::sd3_transformer));
  const std::string first = "transformer_blocks.0.", last = "transformer_blocks.2.";
  expect_rows(sd3, "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight",
              {{first + "attn.to_q", 0, 3}, {first + "attn.to_k", 1, 3}, {first + "attn.to_v", 2, 3}});
  expect_rows(sd3, "lora_unet_joint_blocks_0_x_block_attn2_qkv.alpha",
              {{first + "attn2.to_q", 0, 3}, {first + "attn2.to_k", 1, 3}, {first + "attn2.to_v", 2, 3}});
  expect_rows(sd3, "lora_unet_joint_blocks_0_context_block_adaLN_modulation_1.alpha",
              {{first + "norm1_context.linear"}});
  expect_rows(sd3, "lora_unet_joint_blocks_2_context_block_adaLN_modulation_1.alpha",
              {{last + "norm1_context.linear", 0, 1, 1, true}});
  expect_rows(sd3, "lora_unet_joint_blocks_2_x_block_adaLN_modulation_1.alpha", {{last + "norm1.linear"}});
  expect_rows(sd3, "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lora_A.weight", {{first + "ff.net.0.proj"}});
  expect_rows(sd3, "transformer.transformer_blocks.0.attn.add_k_proj.lora_B.weight", {{first + "attn.add_k_proj"}});
  EXPECT_FALSE(sd3.find("double_blocks.0.processor.qkv_lora1"));

  const LoraNames pixart = names_of(kind_of(Architecture::pixart_transformer));
  expect_rows(pixart, "lora_unet_blocks_0_cross_attn_kv_linear.lora_down.weight",
              {{first + "attn2.to_k", 0, 2}, {first + "attn2.to_v", 1, 2}});
  expect_rows(pixart, "unet.base_model.model.transformer_blocks.0.attn1.to_q.lora_A.weight", {{first + "attn1.to_q"}});
  expect_rows(pixart, "base_model.model.adaln_single.linear.lora_A.weight", {{"adaln_single.linear"}});
}

TEST(TransformerLoraNames, TextEncodersByWhatTheyAre) {
  LoraNames flux, sd3, pixart;
  const LoraNames::Parameters clip = {{"encoder.layers.0.self_attn.q_proj.weight", {4, 4}}};
  const LoraNames::Parameters t5 = {{"encoder.block.0.layer.0.SelfAttention.q.weight", {4, 4}},
                                    {"encoder.block.0.layer.1.DenseReluDense.wi_0.weight", {8, 4}}};
  flux.add(model_part("text_encoder"), Architecture::clip_text, clip);
  flux.add(model_part("text_encoder_2"), Architecture::t5, t5);
  sd3.add(model_part("text_encoder"), Architecture::clip_text, clip);
  sd3.add(model_part("text_encoder_2"), Architecture::clip_text, clip);
  sd3.add(model_part("text_encoder_3"), Architecture::t5, t5);
  pixart.add(model_part("text_encoder"), Architecture::t5, t5);
  const std::string q = "encoder.block.0.layer.0.SelfAttention.q", wi = "encoder.block.0.layer.1.DenseReluDense.wi_0";
  for (const auto& [names, spelling, part, module] :
       std::vector<std::tuple<const LoraNames*, std::string, std::string, std::string>>{
           {&flux, "lora_te1_text_model_encoder_layers_0_self_attn_q_proj", "text_encoder", ""},
           {&flux, "lora_te3_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_2", q},
           {&flux, "lora_te2_encoder_block_0_layer_1_DenseReluDense_wi_0", "text_encoder_2", wi},
           {&flux, "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q", "text_encoder_2", q},
           {&flux, "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q", "text_encoder_2", q},
           {&sd3, "lora_te1_text_model_encoder_layers_0_self_attn_q_proj", "text_encoder", ""},
           {&sd3, "lora_te2_text_model_encoder_layers_0_self_attn_q_proj", "text_encoder_2", ""},
           {&sd3, "lora_te3_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_3", q},
           {&sd3, "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q", "text_encoder_3", q},
           {&sd3, "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q", "text_encoder_3", q},
           {&pixart, "lora_te_encoder_block_0_layer_0_SelfAttention_q", "text_encoder", q},
           {&pixart, "text_encoder.encoder.block.0.layer.0.SelfAttention.q", "text_encoder", q}}) {
    const LoraNames::Modules* found = names->find(spelling);
    ASSERT_TRUE(found) << spelling;
    EXPECT_EQ(found->front().part->name, part) << spelling;
    EXPECT_EQ(found->front().name, module.empty() ? "encoder.layers.0.self_attn.q_proj" : module) << spelling;
  }
}

TEST(TransformerLoraNames, FamilyAndPartAreTold) {
  const Scratch scratch;
  for (const auto& [module, width, family, part] : std::vector<std::tuple<std::string, int, std::string, std::string>>{
           {"lora_unet_double_blocks_0_img_attn_qkv", 32, "Flux", "transformer"},
           {"lora_unet_single_blocks_7_linear1", 32, "Flux", "transformer"},
           {"lora_unet_img_in", 64, "", "transformer"},
           {"transformer.single_transformer_blocks.0.proj_mlp", 32, "Flux", "transformer"},
           {"transformer.transformer_blocks.0.attn.to_q", 3072, "Flux", "transformer"},
           {"transformer_blocks.0.attn.to_q", 1536, "Stable Diffusion 3", "transformer"},
           {"lora_transformer_transformer_blocks_0_attn_to_k", 2432, "Stable Diffusion 3", "transformer"},
           {"base_model.model.transformer_blocks.0.attn.to_q", 32, "", "transformer"},
           {"lora_unet_joint_blocks_0_context_block_attn_qkv", 32, "Stable Diffusion 3", "transformer"},
           {"diffusion_model.joint_blocks.0.x_block.mlp.fc1", 32, "Stable Diffusion 3", "transformer"},
           {"unet.base_model.model.transformer_blocks.0.attn1.to_q", 1152, "PixArt", "transformer"},
           {"lora_unet_blocks_0_cross_attn_kv_linear", 1152, "PixArt", "transformer"},
           {"transformer.adaln_single.linear", 1152, "PixArt", "transformer"},
           {"diffusion_model.layers.0.attention.to_q", 3840, "Z-Image", "transformer"},
           {"lora_unet_layers_0_attention_qkv", 2304, "Lumina-Image 2", "transformer"},
           {"transformer.context_refiner.0.attention.to_k", 32, "", "transformer"},
           {"lora_te3_encoder_block_0_layer_0_SelfAttention_q", 4096, "", "t5"},
           {"text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q", 4096, "", "t5"},
           {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", 768, "Stable Diffusion 1", "unet"},
           {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", 320, "", "unet"},
           {"lora_unet_conv_in", 4, "", "unet"},
           {"lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280, "SDXL", "text_encoder_2"}}) {
    SCOPED_TRACE(module);
    const TensorTable table(std::vector{write_table(
        scratch, "lora.safetensors", {{module + ".lora_A.weight", {2, width}}, {module + ".lora_B.weight", {4, 2}}})});
    const LoraSummary summary = summarize_lora(table);
    EXPECT_EQ(summary.family, family);
    EXPECT_EQ(summary.modules, (std::map<std::string, std::size_t>{{part, 1}}));
  }
  const TensorTable xlabs(std::vector{write_table(scratch, "xlabs.safetensors",
                                                  {{"double_blocks.0.processor.qkv_lora1.down.weight", {2, 4}},
                                                   {"double_blocks.0.processor.qkv_lora1.up.weight", {12, 2}},
                                                   {"double_blocks.0.processor.qkv_lora2.down.weight", {2, 4}}})});
  const LoraSummary summary = summarize_lora(xlabs);
  EXPECT_EQ(summary.spellings, (std::set<std::string>{"XLabs"}));
  EXPECT_EQ(summary.modules.at("transformer"), 2u);
}

// Names of the networks that they change begin as in checkpoints of these.
TEST(TransformerLoraNames, AFileOfThemIsNoCheckpoint) {
  const Scratch scratch;
  const auto file =
      write_table(scratch, "lora.safetensors",
                  {{"double_blocks.0.img_attn.proj.lora_A.weight", {2, 4}},
                   {"double_blocks.0.img_attn.proj.lora_B.weight", {4, 2}},
                   {"text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", {2, 4}}});
  EXPECT_EQ(summarize_file(TensorTable(std::vector{file})).kind, FileKind::lora);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { open_model(file, [](const std::string&) {}); }),
                  "this is a LoRA for Flux, which changes a model but is none");
}

// A Flux as large as the released ones: all its names are made once a model, and a file's are looked up.
TEST(TransformerLoraNames, OfARealFlux) {
  LoraNames::Parameters parameters;
  for (int i = 0; i < 19; ++i)
    for (const NameRow& row : kFluxNames.blocks[0].rows)
      parameters[concat(kBlock, i, '.', row.own, ".weight")] = {8, 8};
  for (int i = 0; i < 38; ++i)
    for (const NameRow& row : kFluxNames.blocks[1].rows)
      parameters[concat(kSingleBlock, i, '.', row.own, ".weight")] = {8, 8};
  LoraNames n;
  n.add(model_part("transformer"), Architecture::flux_transformer, parameters);
  ASSERT_TRUE(n.find("lora_unet_double_blocks_18_img_attn_qkv"));
  EXPECT_EQ(n.find("lora_unet_single_blocks_37_linear1")->back().name, "single_transformer_blocks.37.proj_mlp");
}

}  // namespace
}  // namespace sdgen
