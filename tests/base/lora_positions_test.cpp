// LoRA files whose modules are numbers: the order in which their trainers' releases walked through the model.
#include "formats/lora_positions.h"

#include <gtest/gtest.h>

#include "base/tables.h"

namespace sdgen {
namespace {

using Names = std::vector<std::string>;

class LoraPositions : public testing::Test {
 protected:
  // The modules by number of a file that has so many.
  Names order(const std::string& component, const Names& modules,
              const std::function<Shapes(const std::string& module)>& shapes = {},
              const std::map<std::string, std::string>& metadata = {}) {
    Shapes tensors;
    for (std::size_t i = 0; i < modules.size(); ++i)
      for (const auto& [part, shape] : shapes ? shapes(modules[i]) : Shapes{{"down", {2, 8}}, {"up", {8, 2}}})
        tensors[concat(component, ':', i, ':', part)] = shape;
    const TensorTable table(std::vector{write_table(scratch_, "lora.safetensors", tensors, metadata)});
    const auto numbered = numbered_modules(table, names_);
    Names found;
    for (std::size_t i = 0; i < numbered.size(); ++i) {
      const LoraNames::Module& module = numbered.at(concat(component, ':', i));
      EXPECT_EQ(module.part->name, component);
      found.push_back(module.name);
    }
    return found;
  }
  Scratch scratch_;
  LoraNames names_;
};

TEST_F(LoraPositions, TextEncodersAreWalkedAsTransformersMakesThem) {
  LoraNames::Parameters parameters;
  Names expected;
  for (int layer = 0; layer < 2; ++layer)
    for (const char* part : {"k_proj", "v_proj", "q_proj", "out_proj"}) {
      expected.push_back(concat("encoder.layers.", layer, ".self_attn.", part));
      parameters[expected.back() + ".weight"] = {8, 8};
    }
  names_.add(model_part("text_encoder"), Architecture::clip_text, parameters);
  EXPECT_EQ(order("text_encoder", expected), expected);
}

// Down, up, middle; in a block the attentions. Until release 0.16 the feed-forward layers came before the second
// attention, which the shapes tell.
TEST_F(LoraPositions, UNetsAreWalkedAsTheReleaseDid) {
  LoraNames::Parameters parameters;
  Names newer, older;
  for (const char* place : {"down_blocks.0.", "up_blocks.0.", "mid_block."}) {
    const std::string at = place, block = at + "attentions.0.transformer_blocks.0.";
    parameters[at + "resnets.0.conv1.weight"] = {8, 8, 3, 3};
    parameters[at + "attentions.0.proj_in.weight"] = {8, 8};
    Names first, second;
    for (const char* layer : {".to_q", ".to_k", ".to_v", ".to_out.0"}) {
      first.push_back(block + "attn1" + layer);
      second.push_back(block + "attn2" + layer);
    }
    const std::string feed = block + "ff.net.0.proj";
    for (const Names& some : {first, second})
      for (const std::string& name : some) parameters[name + ".weight"] = {8, 8};
    parameters[feed + ".weight"] = {64, 8};
    for (Names* order : {&newer, &older}) {
      order->insert(order->end(), first.begin(), first.end());
      if (order == &older) order->push_back(feed);
      order->insert(order->end(), second.begin(), second.end());
      if (order == &newer) order->push_back(feed);
    }
  }
  names_.add(model_part("unet"), Architecture::unet, parameters);
  const auto shapes = [&](const std::string& module) {
    return Shapes{{"down", {2, 8}}, {"up", {parameters.at(module + ".weight")[0], 2}}};
  };
  EXPECT_EQ(order("unet", newer, shapes), newer);
  EXPECT_EQ(order("unet", older, shapes), older);
  // The classes that were trained are in the metadata.
  Names feeds;
  for (const std::string& name : newer)
    if (name.ends_with("proj")) feeds.push_back(name);
  EXPECT_EQ(order("unet", feeds, shapes, {{"unet", R"(["GEGLU"])"}}), feeds);
}

}  // namespace
}  // namespace sdgen
