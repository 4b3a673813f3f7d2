#include <gtest/gtest.h>

#include "base/scratch.h"
#include "base/tables.h"
#include "cli/lora_folder.h"
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

std::filesystem::path anywhere(const std::string& name) { return "dir/" + name; }

TEST(LoraTags, AreTakenOutOfThePrompt) {
  std::string prompt = "a <lora:style:0.8>fox<lora:sub/face:0.5:1.5> <lyco:plain> < 3 <3:";
  std::vector<Lora> loras{{"given"}};
  take_lora_tags(prompt, anywhere, loras);
  EXPECT_EQ(prompt, "a fox  < 3 <3:");
  EXPECT_EQ(loras,
            (std::vector<Lora>{{"given"}, {"dir/style", 0.8, 0.8}, {"dir/sub/face", 1.5, 0.5}, {"dir/plain", 1, 1}}));
}

// As AUTOMATIC1111's extra_networks_lora.py reads them.
TEST(LoraTags, ScalesByPlaceAndByName) {
  for (const auto& [inside, te, unet] :
       std::initializer_list<std::tuple<const char*, double, double>>{{"x", 1, 1},
                                                                      {"x:0.5", 0.5, 0.5},
                                                                      {"x:0.5:1", 0.5, 1},
                                                                      {"x:te=0.5:unet=1", 0.5, 1},
                                                                      {"x:te=0.5", 0.5, 0.5},
                                                                      {"x:unet=0.5", 1, 0.5},
                                                                      {"x:0.25:te=0.5", 0.5, 0.5},
                                                                      {"x:unet=2:0.25:1", 0.25, 2},
                                                                      {" x : -0.5 ", -0.5, -0.5}}) {
    std::string prompt = concat("<lora:", inside, '>');
    std::vector<Lora> loras;
    take_lora_tags(prompt, anywhere, loras);
    EXPECT_EQ(loras, (std::vector<Lora>{{"dir/x", unet, te}})) << inside;
  }
}

TEST(LoraTags, TheSameOneTwiceAdds) {
  std::string prompt = "<lora:a:1> <lora:a:0.5>";
  std::vector<Lora> loras;
  take_lora_tags(prompt, anywhere, loras);
  EXPECT_EQ(loras, (std::vector<Lora>{{"dir/a", 1, 1}, {"dir/a", 0.5, 0.5}}));
}

TEST(LoraTags, NoneIsDrawnAsWords) {
  for (const auto& [prompt, part] : {std::pair{"<lora:a:x>", "'x' is not a scale"},
                                     {"<lora::1>", "names no file"},
                                     {"<lora:>", "names no file"},
                                     {"<lora:a:1:2:3>", "expected"},
                                     {"<lora:a:1:lbw=OUT>", "'lbw' is not supported"},
                                     {"<lora:a:dyn=4>", "'dyn' is not supported"},
                                     {"a <lora:a:0.5", "has no '>'"},
                                     {"<hypernet:a:1>", "hypernetworks are not supported"},
                                     {"<wildcard:animals>", "<wildcard:animals>"},
                                     {"a <lo<lora:a>ra:b:y>", "<lora:b:y>"},
                                     {"<狐:a>", "only <lora:NAME:SCALE> is known"}}) {
    std::string text = prompt;
    std::vector<Lora> loras;
    EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_lora_tags(text, anywhere, loras); }), part);
  }
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += concat("<lora:", i, '>');
  std::vector<Lora> taken;
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { take_lora_tags(many, anywhere, taken); }), "more than 1000 LoRAs");
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { refuse_tags("blurry <lora:a:1>", "--prompt-2"); }),
                  "belongs in the prompt");
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { refuse_tags("<lora:a:1", "--negative-prompt"); }),
                  "--negative-prompt: <lora:a:1: the tag");
  refuse_tags("blurry, a < b: c > d", "--negative-prompt");
}

// The files of a folder that a name means; their metadata are all that is in them.
class LoraFolderTest : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::map<std::string, std::string>& metadata = {}) {
    std::filesystem::create_directories((scratch_.folder() / "loras" / name).parent_path());
    return write_table(scratch_, "loras/" + name, {{"lora_unet_x.alpha", {}}}, metadata).string();
  }
  LoraFolder folder(const std::string& hashes = "") {
    return {scratch_.folder() / "loras", read_lora_hashes(hashes),
            [this](const std::string& warning) { warnings_.push_back(warning); }};
  }
  std::vector<std::string> warnings_;
  Scratch scratch_;
};

TEST_F(LoraFolderTest, FindsByNameThenByAliasThenByHash) {
  const std::string ink = file("styles/old/ink.safetensors", {{"ss_output_name", "sketch"}}),
                    face = file("v1.2.safetensors", {{"ss_output_name", "face"}}),
                    other = file("c.SAFETENSORS", {{"sshs_model_hash", "0123456789abcdef"}});
  LoraFolder loras = folder("gone: 0123456789AB, a b: zzz");
  EXPECT_EQ(loras.find("ink"), ink);
  EXPECT_EQ(loras.find("ink.safetensors"), ink);
  EXPECT_EQ(loras.find("styles/old/ink"), ink);
  EXPECT_EQ(loras.find("sketch"), ink);
  EXPECT_EQ(loras.find("face"), face);
  EXPECT_EQ(loras.find("v1.2"), face);
  EXPECT_EQ(loras.find("gone"), other);
  EXPECT_EQ(loras.find("gone"), other);
  EXPECT_TRUE(warnings_.empty());
  EXPECT_CONTAINS(message_of(Fault::input, [&] { loras.find("Inc"); }), "did you mean ink?");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { loras.find("INK"); }), "did you mean ink?");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { loras.find("faces"); }), "did you mean face?");
  for (const char* outside : {"../loras/v1.2", "/v1.2", "old/ink", "a b"})
    EXPECT_CONTAINS(message_of(Fault::input, [&] { loras.find(outside); }), "none of the 3 .safetensors files");
  scratch_.write("loras/pickled.pt", "PK");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { folder().find("pickled"); }), "pickled.pt");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { LoraFolder(scratch_.folder() / "none", {}, {}); }), "is not a folder");
}

// A file that is found in two ways is one; two files are not, unless the picture says which it was.
TEST_F(LoraFolderTest, OfSeveralItNeverChoosesSilently) {
  const std::string one = file("ink.safetensors", {{"sshs_model_hash", "111111111111"}}),
                    two = file("b/ink.safetensors", {{"sshs_model_hash", "222222222222"}});
  const std::string message = message_of(Fault::usage, [&] { folder().find("ink"); });
  for (const std::string& part : {one, two, std::string("like ")}) EXPECT_CONTAINS(message, part);
  EXPECT_EQ(folder().find("b/ink"), two);
  EXPECT_EQ(folder().find("./ink"), one);
  EXPECT_EQ(folder("ink: 222222222222").find("ink"), two);
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { folder("ink: 333333333333").find("ink"); }), two);
  std::filesystem::remove(two);
  std::filesystem::create_symlink(one, scratch_.folder() / "loras/b/ink.safetensors");
  std::filesystem::create_directory_symlink(scratch_.folder() / "loras", scratch_.folder() / "loras/round");
  EXPECT_EQ(std::filesystem::canonical(folder().find("ink")), std::filesystem::canonical(one));
  folder("ink: 333333333333").find("ink");
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_CONTAINS(warnings_[0], "was another file (its hash is 333333333333)");
}

}  // namespace
}  // namespace sdgen::cli
