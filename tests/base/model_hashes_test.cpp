// Hashes of large files are found once; the cache never fails a run.
#include "cli/model_hashes.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "base/scratch.h"
#include "io/hash.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

struct ModelHashesTest : testing::Test {
  std::string hash(const fs::path& cache, std::uint64_t least = 1) {
    return remembered_sha256(file_, cache, least, {});
  }
  std::vector<fs::path> entries() {
    std::vector<fs::path> found;
    if (fs::exists(cache_))
      for (const auto& entry : fs::recursive_directory_iterator(cache_))
        if (entry.is_regular_file()) found.push_back(entry.path());
    return found;
  }
  Scratch scratch_;
  fs::path file_ = scratch_.write("model.safetensors", "weights"), cache_ = scratch_ / "cache";
  std::string sha256_ = sha256_of("weights");
};

TEST_F(ModelHashesTest, AreRememberedUntilTheFileChanges) {
  EXPECT_EQ(hash(cache_), sha256_);
  ASSERT_EQ(entries().size(), 1u);
  const fs::path entry = entries()[0];
  std::string text = contents(entry);
  EXPECT_TRUE(text.ends_with("\n" + sha256_)) << text;
  text.replace(text.size() - 64, 64, 64, 'e');
  std::ofstream(entry, std::ios::binary) << text;
  EXPECT_EQ(hash(cache_), std::string(64, 'e')) << "what is known is not looked at again";
  fs::last_write_time(file_, fs::last_write_time(file_) + std::chrono::seconds(1));
  EXPECT_EQ(hash(cache_), sha256_) << "another time: another file";
  EXPECT_EQ(entries().size(), 1u);
}

TEST_F(ModelHashesTest, ACacheThatFailsIsNone) {
  EXPECT_EQ(hash(""), sha256_);
  EXPECT_EQ(hash("/proc/no/such"), sha256_);
  EXPECT_EQ(hash(file_ / "below-a-file"), sha256_);
  EXPECT_EQ(hash(cache_, 8), sha256_);
  EXPECT_TRUE(entries().empty()) << "small files are not worth an entry";
  hash(cache_);
  for (const std::string& text : {std::string(), std::string(100'000, 'x'), "x\n7 0\n" + std::string(64, 'e')}) {
    std::ofstream(entries().at(0), std::ios::binary) << text;
    EXPECT_EQ(hash(cache_), sha256_);
  }
}

TEST_F(ModelHashesTest, TheCacheIsWhereTheSystemHasCaches) {
  const auto folder = [](const char* cache, const char* home) {
    const std::map<const char*, const char*> wanted = {{"XDG_CACHE_HOME", cache}, {"HOME", home}};
    std::map<const char*, std::optional<std::string>> before;
    for (const auto& [name, value] : wanted) {
      const char* old = std::getenv(name);
      before[name] = old ? std::optional<std::string>(old) : std::nullopt;
      value ? setenv(name, value, 1) : unsetenv(name);
    }
    const fs::path found = cache_folder();
    for (const auto& [name, value] : before) value ? setenv(name, value->c_str(), 1) : unsetenv(name);
    return found;
  };
  EXPECT_EQ(folder("/cache", "/home/x"), "/cache/sdgen");
  EXPECT_EQ(folder(nullptr, "/home/x"), "/home/x/.cache/sdgen");
  EXPECT_EQ(folder("relative", "/home/x"), "/home/x/.cache/sdgen") << "the XDG specification ignores such paths";
  EXPECT_EQ(folder("", ""), "");
}

TEST_F(ModelHashesTest, AFoldersIsItsUNets) {
  fs::create_directories(scratch_ / "folder/unet");
  scratch_.write("folder/unet/diffusion_pytorch_model.safetensors", "unet");
  EXPECT_EQ(weights_sha256(scratch_ / "folder", {}), sha256_of("unet"));
  EXPECT_EQ(weights_sha256(scratch_ / "folder/unet", {}), sha256_of("unet"));
  EXPECT_EQ(weights_sha256(file_, {}), sha256_);
  EXPECT_EQ(weights_sha256(scratch_ / "missing", {}), "");
  EXPECT_EQ(weights_sha256(scratch_.folder(), {}), "");
}

TEST_F(ModelHashesTest, AShardedOnesIsThatOfItsShards) {
  scratch_.write("diffusion_pytorch_model.safetensors.index.json",
                 R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  scratch_.write("1.safetensors", "one");
  scratch_.write("2.safetensors", "two");
  EXPECT_EQ(weights_sha256(scratch_.folder(), {}), sha256_of(sha256_of("one") + sha256_of("two")));
}

TEST_F(ModelHashesTest, AreFoundBesideTheWorkOrWhenAsked) {
  LoadOptions load;
  load.vae = file_;
  for (const bool wanted : {true, false}) {
    const ModelHashing hashing(file_, load, wanted);
    EXPECT_EQ(hashing.get().model, sha256_);
    EXPECT_EQ(hashing.get().vae, sha256_);
    EXPECT_EQ(hashing.get().refiner, "");
  }
}

TEST_F(ModelHashesTest, NobodyWaitsForWhatIsNoLongerWanted) {
  const fs::path large = scratch_ / "large";
  std::ofstream(large).put('x');
  fs::resize_file(large, 200ull << 30);  // a hole: minutes of hashing
  const auto begin = std::chrono::steady_clock::now();
  { const ModelHashing hashing(large, {}, /*wanted=*/true); }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace sdgen::cli
