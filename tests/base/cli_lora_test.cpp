#include <gtest/gtest.h>

#include "base/scratch.h"
#include "cli/lora_tags.h"

namespace sdgen::cli {
namespace {

Lora read(const std::string& text) { return lora(Argument("--lora", text)); }

TEST(LoraOption, PathAndScales) {
  EXPECT_EQ(read("a.safetensors").path, "a.safetensors");
  EXPECT_EQ(read("a.safetensors").unet_scale, 1);
  EXPECT_EQ(read("dir:x/a.safetensors").path, "dir:x/a.safetensors");
  EXPECT_EQ(read("a:b.safetensors").path, "a:b.safetensors");
  const Lora both = read("a:b.safetensors:-0.5");
  EXPECT_EQ(both.path, "a:b.safetensors");
  EXPECT_EQ(both.unet_scale, -0.5);
  EXPECT_EQ(both.text_scale, -0.5);
  const Lora apart = read("[a,b].safetensors:unet=0.8,te=0");
  EXPECT_EQ(apart.path, "[a,b].safetensors");
  EXPECT_EQ(apart.unet_scale, 0.8);
  EXPECT_EQ(apart.text_scale, 0);
  EXPECT_EQ(read("a.safetensors:te=0.25").unet_scale, 1);
  for (const char* wrong : {"", ":1", "a:", "a:x", "a:nan", "a:unet=", "a:unet", "a:vae=1", "a:1e9", "a:unet=1,,te=1"})
    EXPECT_CONTAINS(message_of(Fault::usage, [&] { read(wrong); }), "--lora");
}

TEST(LoraTags, AreTakenOutOfThePrompt) {
  std::string prompt = "a <lora:style:0.8>fox<lora:sub/face:0.5:1.5> <lora:plain> <lora:open";
  std::vector<Lora> loras;
  take_lora_tags(prompt, "dir", loras);
  EXPECT_EQ(prompt, "a fox  <lora:open");
  ASSERT_EQ(loras.size(), 3u);
  EXPECT_EQ(loras[0].path, "dir/style.safetensors");
  EXPECT_EQ(loras[0].text_scale, 0.8);
  EXPECT_EQ(loras[0].unet_scale, 0.8);
  EXPECT_EQ(loras[1].path, "dir/sub/face.safetensors");
  EXPECT_EQ(loras[1].text_scale, 0.5);
  EXPECT_EQ(loras[1].unet_scale, 1.5);
  EXPECT_EQ(loras[2].unet_scale, 1);
}

TEST(LoraTags, WhatIsWrongIsSaid) {
  for (const auto& [prompt, part] : {std::pair{"<lora:a:1> <lora:a:0.5>", "twice"},
                                     {"<lora:a:x>", "not a scale"},
                                     {"<lora::1>", "expected"},
                                     {"<lora:../a:1>", "expected"},
                                     {"<lora:a:1:2:3>", "expected"}}) {
    std::string text = prompt;
    std::vector<Lora> loras;
    EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_lora_tags(text, "dir", loras); }), part);
  }
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += concat("<lora:", i, '>');
  std::vector<Lora> taken;
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_lora_tags(many, "dir", taken); }), "more than 1000 LoRAs");
  std::string text = "a <lora:a:1>";
  std::vector<Lora> loras;
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_lora_tags(text, std::nullopt, loras); }), "--lora-dir");
}

}  // namespace
}  // namespace sdgen::cli
