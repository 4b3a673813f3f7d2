// The journal of a batch: whole lines, whichever process writes and whenever one is killed.
#include "cli/manifest.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "io/file.h"

namespace sdgen::cli {
namespace {

struct ManifestTest : testing::Test {
  std::string text() { return read_file(path_, 1 << 20); }
  void put(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  Scratch scratch_;
  std::filesystem::path path_ = scratch_ / "manifest.jsonl";
};

TEST_F(ManifestTest, LinesAreAppended) {
  put("{\"file\":\"old.png\"}\n");
  Manifest(path_).add("{\"file\":\"new.png\"}\n");
  EXPECT_EQ(text(), "{\"file\":\"old.png\"}\n{\"file\":\"new.png\"}\n");
}

TEST_F(ManifestTest, WhatAKilledProcessLeftIsCutOff) {
  put("{\"file\":\"a.png\"}\n{\"file\":\"" + std::string(10'000, 'x'));
  Manifest manifest(path_);
  EXPECT_TRUE(manifest.tells_of(scratch_ / "a.png"));
  manifest.add("{\"file\":\"b.png\"}\n");
  EXPECT_EQ(text(), "{\"file\":\"a.png\"}\n{\"file\":\"b.png\"}\n");
  put("{\"fi");
  manifest.add("{}\n");
  EXPECT_EQ(text(), "{}\n");
  put("somebody's notes");
  const std::string refusal = "its last line has no end and is none of a manifest's: nothing is appended";
  EXPECT_CONTAINS(message_of(Fault::output, [&] { manifest.add("{}\n"); }), refusal);
  EXPECT_CONTAINS(message_of(Fault::output, [&] { Manifest{path_}; }), refusal);
  EXPECT_EQ(text(), "somebody's notes");
}

TEST_F(ManifestTest, ARefusedFileIsClosed) {
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  put("somebody's notes");
  const auto before = open_files();
  for (int i = 0; i < 3; ++i) message_of(Fault::output, [&] { Manifest{path_}; });
  EXPECT_EQ(open_files(), before);
}

TEST_F(ManifestTest, PicturesAreNamedFromItsFolderOn) {
  Manifest manifest(path_);
  EXPECT_EQ(manifest.name_of(scratch_ / "sub/a.png"), "sub/a.png");
  EXPECT_EQ(manifest.name_of(scratch_.folder().parent_path() / "b.png"), "../b.png");
  put("not JSON\n[1]\n{\"file\":7}\n{\"file\":\"sub/a.png\",\"seed\":1}\n");
  EXPECT_TRUE(manifest.tells_of(scratch_ / "sub/a.png"));
  EXPECT_FALSE(manifest.tells_of(scratch_ / "a.png"));
}

TEST_F(ManifestTest, SeveralWritersDoNotTearEachOthersLines) {
  const auto write = [this](char name) {
    Manifest manifest(path_);
    for (int i = 0; i < 200; ++i) manifest.add(std::string(5000, name) + "\n");
  };
  std::thread a(write, 'a'), b(write, 'b');
  a.join(), b.join();
  std::ifstream lines(path_);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    ASSERT_TRUE(line == std::string(5000, 'a') || line == std::string(5000, 'b'));
  EXPECT_EQ(count, 400);
}

TEST_F(ManifestTest, AFullDiskLeavesWholeLines) {
  put("{\"file\":\"a.png\"}\n");
  const pid_t child = fork();
  if (child == 0) {  // the limit ends a write in its middle
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      Manifest(path_).add(std::string(5000, 'x') + "\n");
    } catch (const Error& error) {
      _exit(error.fault() == Fault::output ? 4 : 1);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 4);
  EXPECT_EQ(text(), "{\"file\":\"a.png\"}\n");
}

TEST_F(ManifestTest, AFolderThatIsNotThereIsMade) {
  Manifest(scratch_ / "absent/too/manifest.jsonl");
  EXPECT_EQ(contents(scratch_ / "absent/too/manifest.jsonl"), "");
}

TEST(ManifestPath, IsBesideThePictures) {
  const auto path = [](std::vector<std::string> words) {
    return manifest_path(parse_command_line(words).options).generic_string();
  };
  EXPECT_EQ(path({"--prompts", "a.txt"}), "manifest.jsonl");
  EXPECT_EQ(path({"--prompts", "a.txt", "-o", "out/"}), "out/manifest.jsonl");
  EXPECT_EQ(path({"--prompts", "a.txt", "-o", "out/set/{index}.png", "--shard", "2/8", "-s", "1"}),
            "out/set/manifest-2-of-8.jsonl");
  EXPECT_EQ(path({"--prompts", "a.txt", "-o", "out/{model}/{index}.png"}), "out/manifest.jsonl");
  EXPECT_EQ(path({"--prompts", "a.txt", "--no-manifest"}), "");
  EXPECT_EQ(path({"-p", "x"}), "");
  EXPECT_EQ(path({"-p", "x", "--manifest", "m.jsonl"}), "m.jsonl");
}

}  // namespace
}  // namespace sdgen::cli
