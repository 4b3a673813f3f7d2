// What is known of a model's networks by their names stands in one table; of a family, in its file.
#include "formats/components.h"

#include <gtest/gtest.h>

#include <regex>

#include "base/project_files.h"

namespace sdgen {
namespace {

using Files = std::set<std::string>;

// The files of src, without src/families, that have a string that begins so.
Files files_with_string(const std::string& begin) {
  const std::regex field(R"(FieldName\{"\w+"\})"), string("\"(" + begin + ")");
  return files_that(
      SDGEN_SOURCE, {"src"}, [](const std::string& path) { return path == "src/families" || path.ends_with(".md"); },
      [&](const std::string& text) { return std::regex_search(std::regex_replace(text, field, ""), string); });
}

// The keys of model_index.json, and what begins with them.
TEST(Components, AreNamedInTheTablesOfLayoutsAlone) {
  const Files layouts = {"src/formats/backbone_file.cpp",      "src/formats/components.cpp",
                         "src/formats/file_kind.cpp",          "src/formats/lora_positions.cpp",
                         "src/formats/lora_positions.h",       "src/formats/lora_summary.cpp",
                         "src/formats/original_layout.cpp",    "src/formats/qwen_layout.cpp",
                         "src/formats/text_encoder_files.cpp", "src/formats/transformer_layout.cpp"};
  Files expected = layouts;
  expected.insert("src/cli/lora_tags.cpp");  // the user's words: <lora:NAME:unet=0.5>
  expected.insert("src/cli/record.cpp");     // what the hash in a record is of
  EXPECT_EQ(files_with_string(R"((unet|vae|text_encoder)(_2)?["./:])"), expected);
}

// A network's own class is what nn/ refuses other configs by, and what a layout without configs says that it holds.
TEST(Components, ClassesAreNamedInTheTableAndByTheirNetworks) {
  for (const std::string& file :
       files_with_string("(UNet2D|Autoencoder|CLIPText|ControlNetModel|T2IAdapter)[A-Za-z]*\""))
    EXPECT_TRUE(file.starts_with("src/nn/") || file.starts_with("src/formats/")) << file;
}

TEST(Components, NobodyAsksForAPipelineButItsFamily) {
  EXPECT_EQ(
      files_with_string("[A-Za-z0-9]+Pipeline\""),
      (Files{"src/formats/original_layout.cpp", "src/formats/training.cpp", "src/formats/transformer_layout.cpp"}));
}

TEST(Components, AClassIsItsConfigsWhereThatIsOfItsRole) {
  const auto type = [](const char* part, const char* name) {
    return std::string(class_of(model_part(part), Config({{"_class_name", name}}, "test")).name);
  };
  EXPECT_EQ(type("vae", "AutoencoderTiny"), "AutoencoderTiny");
  EXPECT_EQ(type("vae", "UNet2DModel"), "AutoencoderKL");
  EXPECT_EQ(type("unet", "UNet2DModel"), "UNet2DModel");
  EXPECT_EQ(type("text_encoder_2", "of another release"), "CLIPTextModelWithProjection");
  EXPECT_EQ(find_component_class("HunyuanDiT2DModel"), nullptr);
  const auto old = [](const char* norm) {
    const Config config({{"_class_name", "Transformer2DModel"}, {"norm_type", norm}}, "test");
    return class_of(model_part("transformer"), config, find_component_class("Transformer2DModel")).architecture;
  };
  EXPECT_EQ(old("ada_norm_zero"), Architecture::dit_transformer);
  EXPECT_EQ(old("ada_norm_single"), Architecture::pixart_transformer);
}

// Every part has a row for its class, with its role.
TEST(Components, TablesAgree) {
  for (const ModelPart& part : model_parts()) {
    EXPECT_EQ(component_class(part.usual_class).role, part.role) << part.name;
    EXPECT_EQ(part.tokenizer != nullptr, part.role == Role::text_encoder) << part.name;
  }
}

}  // namespace
}  // namespace sdgen
