// Lines of batch files as pictures: seeds, names, shards, what a line may say.
#include "cli/jobs.h"

#include <gtest/gtest.h>

#include "base/scratch.h"
#include "cli/command_line.h"

namespace sdgen::cli {
namespace {

const std::vector<SchedulerInfo> kSchedulers = {{"ddim", "DDIMScheduler", ""}, {"euler", "EulerDiscreteScheduler", ""}};

struct JobsTest : testing::Test {
  // What comes of every line; of a line that fails, its message.
  struct Line {
    std::vector<Job> jobs;
    std::string error;
  };
  std::vector<Line> read(const std::string& text, std::vector<std::string> words) {
    const std::string file = scratch_.write("jobs.txt", text).string();
    for (const char* word : {"--prompts", file.c_str(), "-o", folder_.c_str()}) words.push_back(word);
    options_ = parse_command_line(words, kSchedulers);
    rows_ = option_rows(kSchedulers);
    Jobs jobs(options_, "m", rows_);
    std::vector<Line> lines;
    while (true) {
      try {
        auto line = jobs.next();
        if (!line) return lines;
        lines.push_back({*line, ""});
      } catch (const Error& error) {
        lines.push_back({{}, error.what()});
      }
    }
  }
  Scratch scratch_;
  std::string folder_ = scratch_.folder().string() + "/{index}-{seed}.png";
  Options options_;
  std::vector<OptionRow> rows_;
};

std::string names(const std::vector<JobsTest::Line>& lines) {
  std::string all;
  for (const auto& line : lines)
    for (const Job& job : line.jobs) all += job.file.filename().string() + ' ';
  return all;
}

TEST_F(JobsTest, SeedsCountOverAllLinesOrFromALinesOwn) {
  const auto lines = read("one\ntwo --seed 100 -b 2\nthree --num-images 2\n", {"--seed", "7", "--steps", "9"});
  EXPECT_EQ(names(lines), "0-7.png 2-9.png 3-10.png ");  // "-b 2" is no option behind others: it may be text
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_CONTAINS(lines[1].error, "jobs.txt:2: '-b' stands behind the options");
  const auto good = read("one\ntwo --seed 100 --num-images 2\nthree --num-images 2\n", {"--seed", "7", "--steps", "9"});
  EXPECT_EQ(names(good), "0-7.png 1-100.png 2-101.png 3-10.png 4-11.png ");
  EXPECT_EQ(good[1].jobs[0].request.prompt, "two");
  EXPECT_EQ(good[1].jobs[0].request.steps, 9);
  EXPECT_EQ(good[1].jobs[0].where, scratch_.folder().string() + "/jobs.txt:2");
}

TEST_F(JobsTest, TheCommandLineComesBeforeALine) {
  const auto lines = read("one --steps 5 --guidance-scale 3\n", {"--seed", "7", "--steps", "9"});
  EXPECT_EQ(lines[0].jobs[0].request.steps, 9);
  EXPECT_EQ(lines[0].jobs[0].request.guidance_scale, 3);
}

TEST_F(JobsTest, AWrongLineChangesNobodyElse) {
  const std::string good = "a\nb\nc\n", bad = "a\nb --steps 0\nc\n";
  EXPECT_EQ(read(good, {"--seed", "1"})[2].jobs[0].file, read(bad, {"--seed", "1"})[2].jobs[0].file);
  for (const auto& [line, message] :
       std::initializer_list<std::pair<const char*, const char*>>{{"b --steps 0", "--steps: '0'"},
                                                                  {"b --stepz 3", "did you mean --steps?"},
                                                                  {"b --device cpu", "belongs to the whole run"},
                                                                  {"b --steps 3 --steps 4", "twice"},
                                                                  {"b --strength 0.5", "--init-image"},
                                                                  {"b --init-image /no/file.png", "/no/file.png"},
                                                                  {"b <lora:x:1>", "--lora"}}) {
    const auto lines = read(std::string("a\n") + line + "\n", {"--seed", "1"});
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_CONTAINS(lines[1].error, "jobs.txt:2: ");
    EXPECT_CONTAINS(lines[1].error, message);
  }
}

TEST_F(JobsTest, ShardsTogetherAreTheWholeWhateverTheirNumber) {
  const std::string text = "a\nb --num-images 3\nc --steps 0\nd --seed 50\ne\nf\n";
  std::set<std::string> whole;
  const auto add = [](std::set<std::string>& set, const std::vector<Line>& lines) {
    for (const Line& line : lines)
      for (const Job& job : line.jobs) EXPECT_TRUE(set.insert(job.file.string()).second);
  };
  add(whole, read(text, {"--seed", "7"}));
  EXPECT_EQ(whole.size(), 7u);
  for (const int count : {2, 3, 5, 20}) {
    std::set<std::string> together;
    for (int i = 0; i < count; ++i) add(together, read(text, {"--seed", "7", "--shard", concat(i, '/', count)}));
    EXPECT_EQ(together, whole) << count;
  }
}

TEST_F(JobsTest, ShardsAgreeOnSeeds) {
  const auto lines = read("a\nb --seed 3\n", {"--shard", "1/2"});
  EXPECT_CONTAINS(lines[0].error, "needs a seed that all runs agree on");
  EXPECT_EQ(names(lines), "1-3.png ");
}

TEST_F(JobsTest, FilesThatAreThereAreSkipped) {
  scratch_.write("1-8.png", "x");
  EXPECT_EQ(names(read("a\nb\nc\n", {"--seed", "7", "--skip-existing"})), "0-7.png 2-9.png ");
  EXPECT_CONTAINS(read("a\nb\nc\n", {"--seed", "7"})[1].error, "exists");
}

TEST_F(JobsTest, WhatDoesNotGoTogetherIsRefused) {
  const auto refusal = [](std::vector<std::string> words) {
    return message_of(Fault::usage, [&] { check_combination(parse_command_line(words, kSchedulers)); });
  };
  EXPECT_CONTAINS(refusal({"--prompts", "x", "-p", "y"}), "leave out --prompt");
  EXPECT_CONTAINS(refusal({"-p", "x", "--fail-fast"}), "--prompts");
  EXPECT_CONTAINS(refusal({"-p", "x", "--shard", "0/2"}), "--seed");
  EXPECT_CONTAINS(refusal({"--prompts", "x", "-o", "-"}), "stdout takes one picture");
  EXPECT_CONTAINS(refusal({"--prompts", "x", "-o", "a.png"}), "{index}");
  for (const char* shard : {"2/2", "1", "a/b", "-1/2", "1/0"})
    EXPECT_CONTAINS(refusal({"--prompts", "x", "--shard", shard}), "--shard");
}

}  // namespace
}  // namespace sdgen::cli
