// --controlnet, --t2i-adapter and `sdgen canny` as a user meets them.
#include <gtest/gtest.h>

#include "base/pictures.h"
#include "base/tables.h"
#include "image/canny.h"
#include "image/picture.h"
#include "image/png.h"
#include "io/hash.h"
#include "program/program.h"
#include "sdgen/error.h"

namespace sdgen::test {
namespace {

const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";  // 57x43

void convolution(Shapes& s, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel = 3) {
  s[name + ".weight"] = {out, in, kernel, kernel};
  s[name + ".bias"] = {out};
}

void resnet(Shapes& s, const std::string& name, std::int64_t in, std::int64_t out) {
  for (const auto& [norm, width] : {std::pair{"norm1", in}, {"norm2", out}})
    for (const char* leaf : {".weight", ".bias"}) s[name + norm + leaf] = {width};
  convolution(s, name + "conv1", out, in);
  convolution(s, name + "conv2", out, out);
  s[name + "time_emb_proj.weight"] = {out, 32};
  s[name + "time_emb_proj.bias"] = {out};
  if (in != out) convolution(s, name + "conv_shortcut", out, in, 1);
}

// For tiny-sd (8 and 16 channels, a latent of 4x4 pixels), without attention.
Shapes controlnet() {
  Shapes s = {{"time_embedding.linear_1.weight", {32, 8}},
              {"time_embedding.linear_1.bias", {32}},
              {"time_embedding.linear_2.weight", {32, 32}},
              {"time_embedding.linear_2.bias", {32}}};
  convolution(s, "conv_in", 8, 4);
  const std::string picture = "controlnet_cond_embedding.";
  convolution(s, picture + "conv_in", 4, 3);
  convolution(s, picture + "blocks.0", 4, 4);
  convolution(s, picture + "blocks.1", 6, 4);
  convolution(s, picture + "blocks.2", 6, 6);
  convolution(s, picture + "blocks.3", 8, 6);
  convolution(s, picture + "conv_out", 8, 8);
  resnet(s, "down_blocks.0.resnets.0.", 8, 8);
  convolution(s, "down_blocks.0.downsamplers.0.conv", 8, 8);
  resnet(s, "down_blocks.1.resnets.0.", 8, 16);
  resnet(s, "mid_block.resnets.0.", 16, 16);
  for (int i = 0; i < 3; ++i) convolution(s, concat("controlnet_down_blocks.", i), 8, 8, 1);
  convolution(s, "controlnet_down_blocks.3", 16, 16, 1);
  convolution(s, "controlnet_mid_block", 16, 16, 1);
  return s;
}

class ControlProgram : public ProgramWithModel {
 protected:
  std::string file(const std::string& name, const Shapes& shapes) {
    return write_table(scratch_, name, shapes).string();
  }
  Scratch scratch_;
};

TEST_F(ControlProgram, SteersAndIsRecorded) {
  const std::string net = file("edges.safetensors", controlnet());
  const Outcome plain = make({"-o", "plain.png", "--no-metadata", "-W", "56", "-H", "40"});
  Outcome outcome = make({"-o", "x.png", "--controlnet", net, "--control-image", kPhoto, "--control-scale", "0.5",
                          "--control-end", "0.8", "--guess-mode", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "\"control_scale\":[0.5],\"control_start\":[0.0],\"control_end\":[0.8]"))
      << outcome.out;
  const auto texts = read_png_text(folder_ / "x.png");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_TRUE(contains(texts[0].text, "ControlNet 0: \"Module: none, Model: edges [")) << texts[0].text;
  EXPECT_TRUE(contains(texts[0].text, "Weight: 0.5, Resize Mode: Just Resize, Guidance Start: 0, Guidance End: 0.8"));
  EXPECT_TRUE(contains(texts[0].text, "Control Mode: ControlNet is more important"));
  EXPECT_EQ(read_picture(folder_ / "x.png").rgb, read_picture(folder_ / "plain.png").rgb)
      << "zeros change nothing, and "
      << "the picture gives the size";
}

// The web UI's extension knows a file by 64 KiB of it, from the first MiB on.
TEST_F(ControlProgram, HasTheHashOfTheWebUi) {
  Shapes shapes = controlnet();
  shapes["zero_fill"] = {700'000};  // float16
  const fs::path net = file("edges.safetensors", shapes);
  std::string bytes = contents(net);
  ASSERT_GT(bytes.size(), 0x110000u);
  bytes.replace(0x100000, 7, "exactly");
  bytes.replace(0x10FFFF, 2, "so");
  std::ofstream(net, std::ios::binary) << bytes;
  const Outcome outcome = make({"-o", "x.png", "--controlnet", net.string(), "--control-image", kPhoto});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string text = read_png_text(folder_ / "x.png").at(0).text;
  const std::string hash = sha256_of(std::string_view(bytes).substr(0x100000, 0x10000)).substr(0, 8);
  EXPECT_TRUE(contains(text, "Model: edges [" + hash + "]")) << text;
}

TEST_F(ControlProgram, MisfitsAreNamed) {
  Shapes wide = controlnet();
  wide["down_blocks.1.resnets.0.conv1.weight"] = {24, 8, 3, 3};
  Shapes folded = controlnet();
  folded.erase("controlnet_cond_embedding.blocks.3.weight");
  for (const auto& [path, message] :
       {std::pair{file("wide.safetensors", wide), "block_out_channels) is 24, the U-Net's 16"},
        {file("folded.safetensors", folded), "a latent of 2x2 pixels"},
        {file("lora.safetensors", {{"lora_unet_conv_in.lora_down.weight", {4, 4, 3, 3}}}), "holds no ControlNet"},
        {scratch_.write("net.pth", "PK\x03\x04").string(), "is a pickle"},
        {model(), "no config.json"},
        {std::string("missing"), "no such ControlNet"}}) {
    const Outcome outcome = make({"-o", "x.png", "--controlnet", path, "--control-image", kPhoto});
    EXPECT_EQ(outcome.exit_code, 3) << path;
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
  }
  Outcome outcome =
      make({"-o", "x.png", "--t2i-adapter", file("net.safetensors", controlnet()), "--control-image", kPhoto});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "holds no T2I-Adapter: this is a ControlNet")) << outcome.err;
  outcome = make({"-o", "x.png", "--controlnet", file("net.safetensors", controlnet()), "--control-image", "gone.png"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "gone.png")) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(ControlProgram, RangesMustBeRanges) {
  const std::string net = file("edges.safetensors", controlnet());
  const Outcome outcome =
      make({"--controlnet", net, "--control-image", kPhoto, "--control-start", "0.5", "--control-end", "0.5"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "control start of network 1")) << outcome.err;
}

TEST_F(ControlProgram, InspectSurveysIt) {
  Shapes shapes = controlnet();
  shapes["nobody.weight"] = {8};
  Outcome outcome = run({"inspect", "--json", file("edges.safetensors", shapes)});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "\"kind\":\"controlnet\"")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "\"unread\":{\"count\":1,\"names\":[\"nobody.weight\"]}")) << outcome.out;
  shapes.erase("controlnet_mid_block.bias");
  outcome = run({"inspect", file("cut.safetensors", shapes)});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "controlnet_mid_block.bias")) << outcome.err;
}

TEST_F(ControlProgram, DrawsEdges) {
  Outcome outcome = run({"canny", "-i", kPhoto, "-o", "edges.png", "--low", "50", "--high", "60"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "edges.png\n");
  EXPECT_EQ(read_picture(folder_ / "edges.png").rgb, canny(read_picture(kPhoto), 50, 60).rgb);
  EXPECT_EQ(run({"canny", "-i", kPhoto, "-o", "edges.png", "--no-clobber"}).exit_code, 4) << "it exists";
  EXPECT_EQ(run({"canny", "-i", kPhoto, "-o", "edges.png"}).exit_code, 0);
  EXPECT_EQ(run({"canny", "-i", "edges.png", "-o", "edges.png"}).exit_code, 4) << "it is read";
  EXPECT_EQ(run({"canny", "-i", kPhoto, "-o", "-"}).out, contents(folder_ / "edges.png"));
  EXPECT_EQ(run({"canny", "-i", "gone.png", "-o", "x.png"}).exit_code, 3);
  for (const Words& words : {Words{"canny", "-i", kPhoto},
                             {"canny", "-o", "x.png"},
                             {"canny", kPhoto},
                             {"canny", "-i", kPhoto, "-o", "x.png", "--low", "-1"}}) {
    outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  }
}

}  // namespace
}  // namespace sdgen::test
