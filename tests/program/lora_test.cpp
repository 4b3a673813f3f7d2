// --lora as a user meets it: what is merged, and what is refused.
#include <gtest/gtest.h>

#include "base/tables.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

constexpr std::int64_t kChannels = 8;  // of tiny-sd's first convolution

class LoraProgram : public ProgramWithModel {
 protected:
  // A file of zeros whose product for the first convolution has `rows` rows.
  std::string file(const std::string& name, std::int64_t rows, const Shapes& more = {}) {
    Shapes shapes = {{"lora_unet_conv_in.lora_down.weight", {2, 4, 3, 3}},
                     {"lora_unet_conv_in.lora_up.weight", {rows, 2, 1, 1}}};
    shapes.insert(more.begin(), more.end());
    return write_table(scratch_, name, shapes).string();
  }
  Scratch scratch_;
};

TEST_F(LoraProgram, IsCountedAndRecorded) {
  const std::string path = file("style.safetensors", kChannels);
  const Outcome plain = make({"-o", "plain.png", "--no-metadata"});
  const Outcome outcome = make({"-o", "x.png", "--no-metadata", "--lora", path + ":0.5", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "LoRA style: 1 of 1 modules applied")) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "\"unet_scale\":0.5")) << outcome.out;
  EXPECT_EQ(contents(folder_ / "x.png"), contents(folder_ / "plain.png")) << "zeros change nothing";
}

TEST_F(LoraProgram, TagNamesAFileOfTheFolder) {
  file("style.safetensors", kChannels);
  const Outcome outcome = run({"-m", model(), "-p", "a fox <lora:style:0.5:0.25>", "-s", "7", "--steps", "1", "-o",
                               "x.png", "--lora-dir", scratch_.folder().string()});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string png = contents(folder_ / "x.png");
  EXPECT_TRUE(contains(png, "<lora:style:0.5:0.25>")) << "the tag is recorded";
  EXPECT_TRUE(contains(png, "Lora hashes: \"style: ")) << "so is the hash";
  EXPECT_EQ(make({"-p", "twice", "--lora-dir", "x"}).exit_code, 2);
}

TEST_F(LoraProgram, MisfitsAreNamed) {
  Outcome outcome = make({"-o", "x.png", "--lora", file("wide.safetensors", kChannels + 1)});
  EXPECT_EQ(outcome.exit_code, 3);
  for (const std::string part : {"wide.safetensors", "lora_unet_conv_in.lora_up.weight", "Stable Diffusion 1"})
    EXPECT_TRUE(contains(outcome.err, part)) << outcome.err;

  const std::string elsewhere = write_table(scratch_, "other.safetensors",
                                            {{"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", {2, 8}},
                                             {"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", {8, 2}}})
                                    .string();
  outcome = make({"-o", "x.png", "--lora", elsewhere});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "none of its 1 modules")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "Flux")) << outcome.err;

  const std::string pickle = scratch_.write("style.pt", "PK\x03\x04").string();
  outcome = make({"-o", "x.png", "--lora", pickle});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "safetensors")) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(LoraProgram, LeftoversWarnAndAreErrorsWhenStrict) {
  const std::string path = file("part.safetensors", kChannels, {{"lora_unet_nowhere.alpha", {}}});
  Outcome outcome = make({"-o", "x.png", "--lora", path});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "lora_unet_nowhere.alpha")) << outcome.err;
  outcome = make({"-o", "y.png", "--lora", path, "--strict"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "lora_unet_nowhere.alpha")) << outcome.err;
}

}  // namespace
}  // namespace sdgen::test
