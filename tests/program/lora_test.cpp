// --lora as a user meets it: what is merged, and what is refused.
#include <gtest/gtest.h>

#include <cmath>

#include "base/tables.h"
#include "io/json.h"
#include "program/program.h"
#include "sdgen/error.h"

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
  // A file that changes what is drawn.
  std::string style(const std::string& name, double size, const std::map<std::string, std::string>& metadata = {}) {
    std::string data;
    for (int i = 0; i < 2 * 4 * 3 * 3 + 2 * kChannels; ++i) {
      const auto value = static_cast<float>(size * std::sin(i * i));
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    const std::size_t middle = sizeof(float) * 2 * 4 * 3 * 3;
    Json header = {{"lora_unet_conv_in.lora_down.weight",
                    {{"dtype", "F32"}, {"shape", {2, 4, 3, 3}}, {"data_offsets", {0, middle}}}},
                   {"lora_unet_conv_in.lora_up.weight",
                    {{"dtype", "F32"}, {"shape", {kChannels, 2, 1, 1}}, {"data_offsets", {middle, data.size()}}}}};
    if (!metadata.empty()) header["__metadata__"] = metadata;
    return scratch_.write(name, safetensors_bytes(header.dump(), data)).string();
  }
  Words drawing(const Words& more, std::size_t seed = 7) const {
    Words words{"-m", model(), "-s", std::to_string(seed), "--steps", "2", "--lora-dir", scratch_.folder().string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  void write(const char* name, const std::string& text) const { std::ofstream(folder_ / name) << text; }

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

// Lines with other LoRAs, or none, are drawn as each is alone: as a list, a table, JSON lines, in shards, from stdin.
TEST_F(LoraProgram, LinesHaveTheirOwn) {
  style("ink.safetensors", 0.5), style("noise.safetensors", 0.8, {{"ss_output_name", "grain"}});
  const Words prompts = {"a fox <lora:ink:0.5>",
                         "a fox",
                         "a fox <lora:grain>",
                         "a fox <lora:ink:0.5>",
                         "a fox <lora:none>",
                         "a fox",
                         "a fox <lora:grain:0.5><lora:ink>"};
  std::set<std::string> pictures;
  std::string list, table = "prompt\n", json;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    list += prompts[i] + "\n", table += "\"" + prompts[i] + "\"\n", json += Json{{"prompt", prompts[i]}}.dump() + "\n";
    if (i == 4) continue;
    const Outcome alone = run(drawing({"-p", prompts[i], "-o", concat("alone-", i, ".png")}, 7 + i));
    ASSERT_EQ(alone.exit_code, 0) << alone.err;
    pictures.insert(contents(folder_ / concat("alone-", i, ".png")));
  }
  ASSERT_EQ(pictures.size(), prompts.size() - 1);
  const auto expect_as_alone = [&](const std::string& where) {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const fs::path picture = folder_ / where / concat(i, ".png");
      EXPECT_EQ(fs::exists(picture), i != 4) << picture;
      if (i == 4) continue;
      EXPECT_TRUE(contents(picture) == contents(folder_ / concat("alone-", i, ".png"))) << picture;
      fs::remove(picture);
    }
  };
  write("list.txt", list), write("table.csv", table), write("lines.jsonl", json);
  for (const char* file : {"list.txt", "table.csv", "lines.jsonl"}) {
    const Outcome outcome = run(drawing({"--prompts", file, "-o", "many/{index}.png"}));
    EXPECT_EQ(outcome.exit_code, 1);
    const std::size_t wrong = outcome.err.find("<lora:none>: none of the 2 .safetensors files");
    EXPECT_LT(wrong, outcome.err.find("model tiny-sd")) << "before anything is loaded\n" << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "LoRA ink: 1 of 1 modules applied\n")) << outcome.err;
    expect_as_alone("many");
  }
  for (const char* shard : {"0/3", "2/3", "1/3"})
    run(drawing({"--prompts", "list.txt", "-o", "many/{index}.png", "--shard", shard}));
  fs::remove(folder_ / "many/2.png"), fs::remove(folder_ / "many/3.png");
  run(drawing({"--prompts", "list.txt", "-o", "many/{index}.png", "--skip-existing"}));
  expect_as_alone("many");

  setup_.in_child = [this] {
    const int file = open((folder_ / "list.txt").c_str(), O_RDONLY);
    return file != -1 && dup2(file, STDIN_FILENO) != -1;
  };
  const Outcome piped = run(drawing({"--prompts", "-", "-o", "many/{index}.png", "--json"}));
  EXPECT_EQ(piped.exit_code, 1);
  EXPECT_TRUE(contains(piped.err, "stdin:5: --prompt: <lora:none>")) << piped.err;
  std::size_t at = 0;
  for (const int i : {0, 1, 2, 3, 5, 6}) {
    at = piped.out.find(concat("many/", i, ".png\""), at);
    EXPECT_NE(at, std::string::npos) << "in the order in which they come: " << piped.out;
  }
  expect_as_alone("many");
}

TEST_F(LoraProgram, APictureOfALineIsMadeAgain) {
  style("ink.safetensors", 0.5);
  write("list.txt", "a fox\na fox <lora:ink:0.5:1>\na fox <lora:ink:0.25><lora:ink:0.25>\n");
  ASSERT_EQ(run(drawing({"--prompts", "list.txt", "-o", "{index}.png"})).exit_code, 0);
  for (int i = 0; i < 3; ++i) {
    const Outcome again = run({"--from-image", concat(i, ".png"), "-o", "again.png", "--overwrite"});
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_TRUE(contents(folder_ / "again.png") == contents(folder_ / concat(i, ".png"))) << i;
  }
  EXPECT_TRUE(contains(contents(folder_ / "1.png"), "<lora:ink:0.5:1>"));
  EXPECT_FALSE(contains(contents(folder_ / "0.png"), "lora"));
}

// A line whose LoRA is of another model fails alone, before the first picture.
TEST_F(LoraProgram, AMisfitOfALineIsTheLines) {
  file("wide.safetensors", kChannels + 1);
  write("list.txt", "a fox <lora:wide>\na fox\n");
  const Outcome outcome = run(drawing({"--prompts", "list.txt", "-o", "{index}.png"}));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.err, "list.txt:1: ")) << outcome.err;
  EXPECT_LT(outcome.err.find("list.txt:1: "), outcome.err.find("model tiny-sd")) << outcome.err;
  EXPECT_FALSE(fs::exists(folder_ / "0.png"));
  EXPECT_TRUE(fs::exists(folder_ / "1.png"));
}

TEST_F(LoraProgram, ANaNNamesIt) {
  style("broken.safetensors", std::nan(""));
  const Outcome outcome = run(drawing({"-p", "a fox <lora:broken>", "-o", "x.png"}));
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_TRUE(contains(outcome.err, "broken.safetensors has NaN or infinity in 'lora_unet_conv_in.lora_down.weight'"))
      << outcome.err;
  EXPECT_FALSE(fs::exists(folder_ / "x.png"));
}

}  // namespace
}  // namespace sdgen::test
