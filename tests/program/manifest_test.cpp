// What a batch survives: signals that nobody can catch, full disks, folders that vanish, others who write there too.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/schema_validator.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

using Json = nlohmann::json;

class BatchFaults : public ProgramWithModel {
 protected:
  void SetUp() override {
    ProgramWithModel::SetUp();
    std::ofstream lines(folder_ / "jobs.txt");
    for (const char* thing : {"fox", "bird", "cat", "dog", "ant", "owl"}) lines << "a " << thing << " --num-images 2\n";
  }
  Words words(const std::string& output, Words more = {}) {
    Words all = {"-m", model(), "--prompts", "jobs.txt", "-s", "7", "--steps", "2", "-o", output, "-q"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // The pictures of a folder by their names.
  std::map<std::string, std::string> pictures(const std::string& folder) {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_ / folder))
      if (entry.path().extension() == ".png") found[entry.path().filename().string()] = contents(entry.path());
    return found;
  }
  // The lines of a manifest by the pictures they tell of.
  std::map<std::string, Json> manifest(const fs::path& file) {
    std::map<std::string, Json> found;
    std::ifstream lines(folder_ / file);
    for (std::string line; std::getline(lines, line);) {
      Json json = Json::parse(line);
      const std::string name = json.at("file");
      EXPECT_TRUE(found.emplace(name, std::move(json)).second) << name << " twice";
    }
    return found;
  }
  std::string sha256(const fs::path& file) {
    FILE* pipe = popen(("sha256sum < '" + (folder_ / file).string() + "'").c_str(), "r");
    char digits[65] = {};
    EXPECT_EQ(fread(digits, 1, 64, pipe), 64u);
    pclose(pipe);
    return digits;
  }
};

TEST_F(BatchFaults, TheManifestTellsWhatMadeEachPicture) {
  fs::create_directory(folder_ / "out");
  EXPECT_EQ(run(words("out/")).exit_code, 0);
  const auto lines = manifest("out/manifest.jsonl");
  ASSERT_EQ(lines.size(), 12u);
  for (const auto& [name, line] : lines) EXPECT_EQ(line.at("sha256"), sha256("out/" + name));
  const SchemaValidator schema(nlohmann::ordered_json::parse(run({"--schema"}).out));
  for (const auto& [name, line] : lines) EXPECT_TRUE(schema.satisfies("record", line)) << line;
  const Json& line = lines.at("00003-10.png");
  EXPECT_EQ(line.at("prompt"), "a bird");
  EXPECT_EQ(line.at("seed"), 10);
  EXPECT_GT(line.at("timings").at("denoise"), 0);

  // A line of the manifest is a line of a batch file, apart from what is not the request's: it makes the picture again.
  Json again;
  for (const char* key : {"prompt", "negative_prompt", "seed", "steps", "guidance_scale", "width", "height"})
    if (line.contains(key)) again[key] = line[key];
  std::ofstream(folder_ / "again.jsonl") << again.dump() << "\n";
  EXPECT_EQ(run({"-m", model(), "--prompts", "again.jsonl", "-o", "again-{seed}.png", "-q"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "again-10.png"));
  EXPECT_TRUE(fs::exists(folder_ / "manifest.jsonl"));
}

TEST_F(BatchFaults, KilledAtAnyMomentTheNextRunGoesOn) {
  for (const char* folder : {"whole", "killed"}) fs::create_directory(folder_ / folder);
  EXPECT_EQ(run(words("whole/")).exit_code, 0);
  const auto whole = pictures("whole");
  ASSERT_EQ(whole.size(), 12u);
  int kills = 0;
  for (std::size_t wanted = 1; wanted <= 12; wanted += 2) {
    Process process(words("killed/", {"--skip-existing"}), folder_,
                    {.environment = {}, .in_child = {}, .folder = folder_});
    if (!process.wait_until([&] { return pictures("killed").size() >= wanted; })) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * kills));
    process.signal(SIGKILL);
    kills += process.wait().exit_code == -SIGKILL;
    for (const auto& [name, bytes] : pictures("killed")) EXPECT_TRUE(bytes == whole.at(name)) << name;
  }
  EXPECT_GE(kills, 3);
  std::ofstream(folder_ / "killed" / "manifest.jsonl", std::ios::app) << "{\"file\":\"torn";  // as by a lost machine
  EXPECT_EQ(run(words("killed/", {"--skip-existing"})).exit_code, 0);
  EXPECT_TRUE(pictures("killed") == whole);
  const auto lines = manifest("killed/manifest.jsonl");
  EXPECT_EQ(lines.size(), 12u);
  for (const auto& [name, line] : lines) {
    EXPECT_EQ(line.at("sha256"), sha256("killed/" + name));
    EXPECT_TRUE(line.contains("prompt")) << name;
  }
}

TEST_F(BatchFaults, APictureWhoseLineIsMissingGetsOne) {
  fs::create_directory(folder_ / "out");
  EXPECT_EQ(run(words("out/")).exit_code, 0);
  const auto before = manifest("out/manifest.jsonl");
  fs::remove(folder_ / "out/manifest.jsonl");
  std::ofstream(folder_ / "out/00004-11.png") << "not a picture";
  EXPECT_EQ(run(words("out/", {"--skip-existing"})).exit_code, 0);
  auto after = manifest("out/manifest.jsonl");
  EXPECT_EQ(after.size(), 11u);  // what is not a picture is left alone and not listed
  for (auto& [name, line] : after) {
    for (const char* key : {"prompt", "seed", "sha256", "hashes", "steps"})
      EXPECT_EQ(line.at(key), before.at(name).at(key));
    EXPECT_FALSE(line.contains("timings"));
  }
}

TEST_F(BatchFaults, AFullDiskEndsTheBatchAndLosesNothing) {
  fs::create_directory(folder_ / "small");
  fs::create_directory(folder_ / "whole");
  EXPECT_EQ(run(words("whole/")).exit_code, 0);
  const auto whole = pictures("whole");
  const SmallDisk disk(folder_ / "small", 48 * 1024);
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a tmpfs";
  const Outcome outcome = run(words("small/"));
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "No space left on device")) << outcome.err;
  const auto there = pictures("small");
  EXPECT_GE(there.size(), 2u);  // 48 KB have room for some, and for the manifest
  EXPECT_LT(there.size(), 12u);
  for (const auto& [name, bytes] : there) EXPECT_TRUE(bytes == whole.at(name)) << name;
  for (const auto& entry : fs::directory_iterator(folder_ / "small"))
    EXPECT_FALSE(contains(entry.path().filename().string(), ".tmp")) << entry.path();
  for (const auto& [name, line] : manifest("small/manifest.jsonl")) EXPECT_TRUE(there.contains(name)) << name;
}

TEST_F(BatchFaults, AFolderThatVanishesEndsTheBatch) {
  fs::create_directory(folder_ / "out");
  Process process(words("out/", {"--no-manifest"}), folder_, {.environment = {}, .in_child = {}, .folder = folder_});
  ASSERT_TRUE(process.wait_until([&] { return !pictures("out").empty(); }));
  fs::rename(folder_ / "out", folder_ / "moved");
  const Outcome outcome = process.wait();
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "cannot be written: No such file or directory")) << outcome.err;
  EXPECT_GE(pictures("moved").size(), 1u);
}

TEST_F(BatchFaults, TwoProcessesMayWorkOnTheSameFolder) {
  for (const char* folder : {"whole", "shared"}) fs::create_directory(folder_ / folder);
  EXPECT_EQ(run(words("whole/")).exit_code, 0);
  fs::create_directory(top_ / "other");
  {
    const Process::Setup setup{.environment = {}, .in_child = {}, .folder = folder_};
    Process one(words("shared/", {"--skip-existing"}), folder_, setup);
    Process two(words("shared/", {"--skip-existing"}), top_ / "other", setup);
    EXPECT_EQ(one.wait().exit_code, 0);
    EXPECT_EQ(two.wait().exit_code, 0);
  }
  EXPECT_TRUE(pictures("shared") == pictures("whole"));
  std::set<std::string> files;
  std::ifstream lines(folder_ / "shared/manifest.jsonl");
  for (std::string line; std::getline(lines, line);) files.insert(Json::parse(line).at("file").get<std::string>());
  EXPECT_EQ(files.size(), 12u);
}

TEST_F(BatchFaults, SweepsAndWildcardsGiveTheSameInShards) {
  for (const char* folder : {"whole", "shards", "words"}) fs::create_directory(folder_ / folder);
  std::ofstream(folder_ / "words/things.txt") << "fox\nbird\ncat\n";
  const auto sweep = [&](const std::string& output, Words more) {
    Words all = {"-m", model(), "-p",      "a {red|green|blue} __things__", "--wildcards", "words", "-b", "3",
                 "-s", "5",     "--sweep", "steps=1,2; guidance_scale=1,4", "-o",          output,  "-q"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all).exit_code;
  };
  EXPECT_EQ(sweep("whole/", {}), 0);
  EXPECT_EQ(sweep("shards/", {"--shard", "0/2"}), 0);
  EXPECT_EQ(sweep("shards/", {"--shard", "1/2"}), 0);
  auto whole = pictures("whole");
  for (const char* sheet : {"grid-00000-5.png", "grid-00004-6.png", "grid-00008-7.png"})
    EXPECT_EQ(whole.erase(sheet), 1u) << sheet;  // one for each seed; shards have none
  EXPECT_EQ(whole.size(), 12u);
  EXPECT_TRUE(whole.contains("00003-5.png"));  // the last cell of the first seed
  EXPECT_TRUE(pictures("shards") == whole);
}

}  // namespace
}  // namespace sdgen::test
