#include "io/weight_files.h"

#include <gtest/gtest.h>

#include "base/scratch.h"

namespace sdgen {
namespace {

class WeightFilesTest : public testing::Test {
 protected:
  // The names found for "model", separated by spaces.
  std::string found(const std::string& stem = "model") const {
    std::string names;
    for (const auto& path : find_weight_files(scratch_.folder(), stem)) {
      EXPECT_EQ(path.parent_path(), scratch_.folder());
      names += (names.empty() ? "" : " ") + path.filename().string();
    }
    return names;
  }
  std::string refusal() const {
    return message_of(Fault::input, [&] { find_weight_files(scratch_.folder(), "model"); });
  }
  // An index whose tensors lie in these files.
  void index(const std::string& name, std::initializer_list<std::string> files) const {
    std::string map;
    int tensor = 0;
    for (const std::string& file : files) map += concat(map.empty() ? "" : ",", "\"t", tensor++, "\":\"", file, "\"");
    scratch_.write(name, R"({"metadata":{"total_size":9},"weight_map":{)" + map + "}}");
  }
  void touch(std::initializer_list<std::string> names) const {
    for (const std::string& name : names) scratch_.write(name, "");
  }

  Scratch scratch_;
};

TEST_F(WeightFilesTest, PrefersOneWholeFile) {
  touch({"model.fp16.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors"});
  EXPECT_EQ(found(), "model.fp16.safetensors");
  index("model.safetensors.index.json", {"s.safetensors"});
  touch({"s.safetensors"});
  EXPECT_EQ(found(), "s.safetensors");
  touch({"model.safetensors"});
  EXPECT_EQ(found(), "model.safetensors");
  EXPECT_EQ(found("diffusion_pytorch_model"), "diffusion_pytorch_model.safetensors");
}

TEST_F(WeightFilesTest, GivesEveryShardOnce) {
  index("model.safetensors.index.json",
        {"model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"});
  touch({"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"});
  EXPECT_EQ(found(), "model-00001-of-00002.safetensors model-00002-of-00002.safetensors");
}

TEST_F(WeightFilesTest, KnowsTheVariantsOfTheIndex) {
  const std::string old_form = "model-00001-of-00001.fp16.safetensors";
  const std::string new_form = "model.fp16-00001-of-00001.safetensors";
  touch({old_form, new_form});
  index("model.fp16.safetensors.index.json", {new_form});
  EXPECT_EQ(found(), new_form);
  index("model.safetensors.index.fp16.json", {old_form});
  EXPECT_EQ(found(), old_form);
}

TEST_F(WeightFilesTest, FollowsTheLinksOfTheHubsCache) {
  std::filesystem::create_directory(scratch_ / "blobs");
  scratch_.write("blobs/0123", "");
  std::filesystem::create_symlink("blobs/0123", scratch_ / "model.safetensors");
  EXPECT_EQ(found(), "model.safetensors");
}

TEST_F(WeightFilesTest, RefusesShardsElsewhere) {
  for (const char* name : {"/etc/passwd", "../model.safetensors", "sub/model.safetensors", "..", "", ".safetensors",
                           "a\\\\b.safetensors", "a\\u0000.safetensors", "model.bin", "/x.safetensors"}) {
    index("model.safetensors.index.json", {name});
    EXPECT_CONTAINS(refusal(), "expected a .safetensors file name of the same folder");
  }
}

TEST_F(WeightFilesTest, ListsMissingShards) {
  index("model.safetensors.index.json", {"a.safetensors", "b.safetensors", "c.safetensors"});
  touch({"b.safetensors"});
  const std::string message = refusal();
  EXPECT_CONTAINS(message, "model.safetensors.index.json");
  EXPECT_CONTAINS(message, "2 of 3 shards are missing: a.safetensors, c.safetensors (incomplete download?)");
}

TEST_F(WeightFilesTest, RefusesMalformedIndexes) {
  for (const char* text : {"{}", R"({"weight_map":[]})", R"({"weight_map":{}})", R"({"weight_map":null})"}) {
    scratch_.write("model.safetensors.index.json", text);
    EXPECT_CONTAINS(refusal(), "has no weight_map");
  }
  scratch_.write("model.safetensors.index.json", R"({"weight_map":{"t":1}})");
  EXPECT_CONTAINS(refusal(), "weight_map 't' is not a string");
  scratch_.write("model.safetensors.index.json", "[1]");
  EXPECT_CONTAINS(refusal(), "expected a JSON object");
  scratch_.write("model.safetensors.index.json", "");
  EXPECT_CONTAINS(refusal(), "is empty");
}

TEST_F(WeightFilesTest, SaysWhatIsThereInstead) {
  EXPECT_CONTAINS(refusal(), "has no model.safetensors");
  touch({"pytorch_model.bin"});
  EXPECT_CONTAINS(refusal(), "its pytorch_model.bin is a pickle");
  EXPECT_CONTAINS(refusal(), "save_file");
  touch({"model.non_ema.safetensors"});
  EXPECT_CONTAINS(refusal(), "it has model.non_ema.safetensors");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { find_weight_files(scratch_ / "no", "model"); }), "no such folder");
}

}  // namespace
}  // namespace sdgen
