// Batch files as a user meets them.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "program/program.h"

namespace sdgen::test {
namespace {

class BatchProgram : public ProgramWithModel {
 protected:
  Outcome batch(const std::string& lines, const std::vector<std::string>& more) {
    std::ofstream(folder_ / "jobs.txt") << lines;
    std::vector<std::string> words = {"-m", model(), "--prompts", "jobs.txt", "--steps", "2", "--no-metadata"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
  std::map<std::string, std::string> pictures(const std::string& folder) {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_ / folder))  // beside them are manifests
      if (entry.path().extension() == ".png") found[entry.path().filename().string()] = contents(entry.path());
    return found;
  }
};

TEST_F(BatchProgram, OneBadLineFailsAlone) {
  const Outcome outcome =
      batch("a fox\na bird --scheduler nonsense\na panda --strength 0.5\na cat\n", {"-s", "7", "-o", "{index}.png"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "0.png\n3.png\n");
  EXPECT_TRUE(contains(outcome.err, "jobs.txt:2: ")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "jobs.txt:3: ")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "2 lines failed")) << outcome.err;
}

// What only the model knows is wrong fails alone too.
TEST_F(BatchProgram, WhatTheModelRefusesFailsAlone) {
  const Outcome outcome = batch("a fox\na bird --width 33\na cat\n", {"-s", "7", "-o", "{index}.png", "-q"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "0.png\n2.png\n");
  EXPECT_TRUE(contains(outcome.err, "jobs.txt:2: width 33")) << outcome.err;
}

TEST_F(BatchProgram, FailFastEndsAtTheFirst) {
  const Outcome outcome = batch("a fox\na bird --steps 0\na cat\n", {"-s", "7", "-o", "{index}.png", "--fail-fast"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
}

TEST_F(BatchProgram, ShardsAndResumedRunsMakeTheSameBytes) {
  const std::string lines = "a fox\na bird --num-images 2\na cat --seed 3\na dog --scheduler euler\nsnow\n";
  for (const char* folder : {"whole", "shards", "resumed"}) fs::create_directory(folder_ / folder);
  EXPECT_EQ(batch(lines, {"-s", "7", "-o", "whole/", "--batch-size", "2"}).exit_code, 0);
  for (const char* shard : {"0/3", "1/3", "2/3"})
    EXPECT_EQ(batch(lines, {"-s", "7", "-o", "shards/", "--batch-size", "2", "--shard", shard}).exit_code, 0);
  EXPECT_EQ(pictures("whole").size(), 6u);
  EXPECT_TRUE(pictures("shards") == pictures("whole"));
  fs::copy(folder_ / "whole", folder_ / "resumed");
  fs::remove(folder_ / "resumed" / "00002-9.png");
  fs::remove(folder_ / "resumed" / "00005-12.png");
  EXPECT_EQ(batch(lines, {"-s", "7", "-o", "resumed/", "--batch-size", "2", "--skip-existing"}).exit_code, 0);
  EXPECT_TRUE(pictures("resumed") == pictures("whole"));
}

TEST_F(BatchProgram, APipeThatStaysOpenIsWorkedOnAsItComes) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int writer = open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  Process process({"-m", model(), "--prompts", "pipe", "-s", "7", "--steps", "1", "-o", "{index}.png"}, folder_,
                  {.environment = {}, .in_child = {}, .folder = folder_});
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(write(writer, "a fox\n", 6), 6);
    const fs::path picture = folder_ / (std::to_string(i) + ".png");
    EXPECT_TRUE(process.wait_until([&] { return fs::exists(picture); })) << i;
  }
  close(writer);
  EXPECT_EQ(process.wait().exit_code, 0);
}

TEST_F(BatchProgram, AListWithoutPromptsIsNamed) {
  std::ofstream(folder_ / "empty.txt") << "\n# a fox\n";
  const Outcome outcome = run({"-m", model(), "--prompts", "empty.txt", "-s", "1"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(contains(outcome.err, "empty.txt: no line asks for a picture; nothing was drawn")) << outcome.err;
}

TEST_F(BatchProgram, AFileThatIsNoBatchFileIsNamed) {
  const Outcome outcome = run({"-m", model(), "--prompts", "nothing.jsonl", "-s", "1"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "nothing.jsonl")) << outcome.err;
}

}  // namespace
}  // namespace sdgen::test
