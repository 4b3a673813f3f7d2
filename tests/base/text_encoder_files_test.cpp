// Text encoders beside a transformer's file, or instead of a model's own: which is which, and what is refused.
#include "formats/text_encoder_files.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>

#include "base/transformer_shapes.h"
#include "formats/tokenizers.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

class TextEncoderFiles : public testing::Test {
 protected:
  fs::path clip(const std::string& name, std::int64_t width, std::int64_t projection = 0) {
    Shapes s;
    add_clip(s, "", width, projection);
    return write_table(scratch_, name, s);
  }
  fs::path t5(const std::string& name, std::int64_t width) {
    Shapes s;
    add_t5(s, "", width);
    return write_table(scratch_, name, s);
  }
  ModelFiles sd3() {
    return open_model(write_table(scratch_, "model.safetensors", sd3_shapes()), [](const std::string&) {});
  }
  // Whose encoders have these files.
  static std::string files(const ModelFiles& model) {
    std::string names;
    for (const char* part : {"text_encoder", "text_encoder_2", "text_encoder_3"}) {
      const Component* c = model.find(part);
      names += concat(c ? c->tensors->files().front()->path().stem().string() : "-", ' ');
    }
    return names;
  }
  std::string given(const std::vector<fs::path>& paths) {
    ModelFiles model = sd3();
    take_text_encoders(model, paths);
    return files(model);
  }

  Scratch scratch_;
  // Together 160 wide, as the transformer's summary is.
  fs::path l_ = clip("l.safetensors", 64), g_ = clip("g.safetensors", 128, 96), t5_ = t5("t.safetensors", 256);
};

TEST_F(TextEncoderFiles, AreToldByStructureInAnyOrder) {
  std::vector<fs::path> paths{l_, g_, t5_};
  std::ranges::sort(paths);
  do EXPECT_EQ(given(paths), "l g t ");
  while (std::ranges::next_permutation(paths).found);
  EXPECT_EQ(given({}), "- - - ");
  EXPECT_EQ(given({g_, l_}), "l g - ");
  // One alone goes where its share of the summary is.
  EXPECT_EQ(given({l_}), "l - - ");
  EXPECT_EQ(given({g_}), "- g - ");
  EXPECT_EQ(given({t5_}), "- - t ");

  ModelFiles model = sd3();
  take_text_encoders(model, {t5_, g_, l_});
  EXPECT_EQ(model.at("text_encoder").config.string("hidden_act", ""), "quick_gelu");
  EXPECT_EQ(model.at("text_encoder_2").config.string("hidden_act", ""), "gelu");
  EXPECT_TRUE(model.at("text_encoder_2").type->projects);
  EXPECT_EQ(model.at("text_encoder_3").type->architecture, Architecture::t5);
  EXPECT_TRUE(std::ranges::is_sorted(model.components, {}, &Component::part)) << "in the order of model_parts()";
}

// The released ones have the same numbers either way round: then the narrower one is the first.
TEST_F(TextEncoderFiles, OfTwoThatFitBothWaysTheNarrowerIsTheFirst) {
  const fs::path narrow = clip("narrow.safetensors", 64, 64), wide = clip("wide.safetensors", 96, 96);
  EXPECT_EQ(given({wide, narrow}), "narrow wide - ");
  // And the wider one, where no other way makes the summary.
  const fs::path odd = clip("odd.safetensors", 64, 32), large = clip("large.safetensors", 128, 128);
  EXPECT_EQ(given({odd, large}), "large odd - ");
}

TEST_F(TextEncoderFiles, FluxHasOneClipAndT5) {
  const fs::path path = write_table(scratch_, "flux.safetensors",
                                    {{"img_in.weight", {64, 64}},
                                     {"txt_in.weight", {64, 256}},
                                     {"vector_in.in_layer.weight", {64, 64}},
                                     {"final_layer.linear.weight", {64, 64}},
                                     {"double_blocks.0.img_attn.norm.query_norm.scale", {32}}});
  ModelFiles model = open_model(path, [](const std::string&) {});
  take_text_encoders(model, {t5_, l_});
  EXPECT_EQ(files(model), "l t - ");
  EXPECT_FALSE(model.at("text_encoder").type->projects);
  EXPECT_EQ(model.at("text_encoder_2").type->architecture, Architecture::t5);
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_text_encoders(model, {l_, g_}); }), "takes 1");
}

TEST_F(TextEncoderFiles, OpenClipsOwnNamesAreRead) {
  Shapes s{{"token_embedding.weight", {100, 128}},
           {"positional_embedding", {77, 128}},
           {"ln_final.weight", {128}},
           {"text_projection", {128, 96}},
           {"transformer.resblocks.0.ln_1.weight", {128}},
           {"transformer.resblocks.0.mlp.c_fc.weight", {256, 128}}};
  const fs::path open = write_table(scratch_, "open.safetensors", s);
  ModelFiles model = sd3();
  take_text_encoders(model, {open, l_});
  EXPECT_EQ(files(model), "l open - ");
  EXPECT_TRUE(model.at("text_encoder_2").locate("text_projection.weight").transposed);
}

TEST_F(TextEncoderFiles, StandForAModelsOwn) {
  Shapes s = sd3_shapes({.prefix = "model.diffusion_model."});
  add_clip(s, "text_encoders.clip_l.transformer.", 64);
  add_clip(s, "text_encoders.clip_g.transformer.", 128, 96);
  add_t5(s, "text_encoders.t5xxl.transformer.", 256);
  const fs::path path = write_table(scratch_, "own.safetensors", s);
  ModelFiles model = open_model(path, [](const std::string&) {});
  EXPECT_EQ(files(model), "own own own ");
  take_text_encoders(model, {t5_, l_});
  EXPECT_EQ(files(model), "l own t ");

  // What no shape shows is as the model's own has it, in a network as wide.
  for (Component& c : model.components)
    if (c.part == &model_part("text_encoder")) {
      Json config = c.config.json();
      config["num_attention_heads"] = 8;
      c.config = Config(std::move(config), "own");
      c.tokenizer = "somewhere";
    }
  take_text_encoders(model, {clip("other.safetensors", 64)});
  EXPECT_EQ(model.at("text_encoder").config.integer("num_attention_heads", 0), 8);
  EXPECT_EQ(model.at("text_encoder").tokenizer, "somewhere");
  take_text_encoders(model, {clip("small.safetensors", 32)});
  EXPECT_EQ(model.at("text_encoder").config.integer("num_attention_heads", 0), 1);
}

TEST_F(TextEncoderFiles, FoldersSayWhatTheyAre) {
  const fs::path folder = scratch_ / "text_encoder_2";
  fs::create_directory(folder);
  fs::create_directory(scratch_ / "tokenizer_2");
  fs::copy_file(g_, folder / "model.safetensors");
  scratch_.write("text_encoder_2/config.json",
                 R"({"architectures": ["CLIPTextModelWithProjection"], "hidden_size": 128, "projection_dim": 96})");
  ModelFiles model = sd3();
  take_text_encoders(model, {folder, l_});
  EXPECT_EQ(files(model), "l model - ");
  EXPECT_EQ(tokenizer_folder(model.at("text_encoder_2")), "") << "there is none beside it";
  scratch_.write("tokenizer_2/vocab.json", "{}");
  take_text_encoders(model, {(folder / "").string()});
  EXPECT_EQ(tokenizer_folder(model.at("text_encoder_2")), scratch_ / "tokenizer_2");

  scratch_.write("text_encoder_2/config.json", R"({"architectures": ["LlamaModel"]})");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { take_text_encoders(model, {folder}); }),
                  "'LlamaModel', expected CLIPText");
  scratch_.write("text_encoder_2/model_index.json", "{}");
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_text_encoders(model, {folder}); }), "is a whole model");
}

TEST_F(TextEncoderFiles, WhatHasNoPlaceIsRefused) {
  const auto refusal = [this](Fault fault, const std::vector<fs::path>& paths) {
    return message_of(fault, [&] { given(paths); });
  };
  EXPECT_CONTAINS(refusal(Fault::usage, {t5_, t5_}), "are of the kind of T5, of which");
  EXPECT_CONTAINS(refusal(Fault::usage, {l_, g_, l_}), "takes 2");
  EXPECT_CONTAINS(refusal(Fault::input, {scratch_ / "nothing"}), "no such text encoder");
  const fs::path lora = write_table(scratch_, "lora.safetensors", {{"lora_unet_x.lora_down.weight", {1, 2}}});
  EXPECT_CONTAINS(refusal(Fault::input, {lora}), "holds no text encoder: this is a LoRA");
  // Two that lack what the second place needs.
  EXPECT_CONTAINS(refusal(Fault::input, {l_, clip("m.safetensors", 96)}), "no tensor 'text_projection.weight'");
  EXPECT_CONTAINS(refusal(Fault::input, {write_table(scratch_, "cut.safetensors", {{"text_model.x", {1}}})}),
                  "no tensor");
}

TEST_F(TextEncoderFiles, T5sVocabularyIsLookedForBesideTheFileFirst) {
  ModelFiles model = sd3();
  take_text_encoders(model, {t5_});
  const char* before = ::getenv("SDGEN_DATA");
  const std::string kept = before ? before : "";
  fs::create_directories(scratch_ / "data/t5");
  ::setenv("SDGEN_DATA", (scratch_ / "data").c_str(), 1);
  scratch_.write("data/t5/spiece.model", "");
  EXPECT_EQ(tokenizer_folder(model.at("text_encoder_3")), scratch_ / "data/t5");
  scratch_.write("tokenizer.json", "");
  EXPECT_EQ(tokenizer_folder(model.at("text_encoder_3")), scratch_.folder());
  before ? ::setenv("SDGEN_DATA", kept.c_str(), 1) : ::unsetenv("SDGEN_DATA");
}

}  // namespace
}  // namespace sdgen
