// Folders of pictures, from the command line to the files.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/pictures.h"
#include "image/png.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

struct Folders : ProgramWithModel {
  void SetUp() override {
    ProgramWithModel::SetUp();
    fs::create_directory(folder_ / "in");
    for (const char* name : {"a.png", "b.png", "c.png"}) fs::copy_file(kPhoto, folder_ / "in" / name);
  }
  std::set<std::string> names(const std::string& folder) const {
    std::set<std::string> found;
    if (fs::exists(folder_ / folder))
      for (const auto& entry : fs::directory_iterator(folder_ / folder)) found.insert(entry.path().filename());
    return found;
  }
  const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";  // 57x43
};

// A picture of a folder is the one that its file alone makes, byte for byte but for the path that its record has.
TEST_F(Folders, EachPictureIsTheOneThatItsFileMakes) {
  const Outcome outcome = make({"-i", "in", "--no-metadata", "-o", "out/{input}.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "out/a.png\nout/b.png\nout/c.png\n");
  const Outcome alone = run({"-m", model(), "-p", "a red fox", "-s", "8", "--steps", "2", "-i", "in/b.png",
                             "--no-metadata", "-o", "alone.png"});
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  EXPECT_EQ(contents(folder_ / "alone.png"), contents(folder_ / "out/b.png"));
  EXPECT_NE(contents(folder_ / "out/a.png"), contents(folder_ / "out/b.png"));
}

TEST_F(Folders, AWrongPictureFailsAlone) {
  std::ofstream(folder_ / "in/b.png") << "no picture";
  std::ofstream(folder_ / "in/c.png") << contents(kPhoto).substr(0, 900);
  fs::copy_file(kPhoto, folder_ / "in/d.png");
  const Outcome outcome = make({"-i", "in/*.png", "-b", "2", "-o", "out/{input}-{index}.png"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_EQ(names("out"), (std::set<std::string>{"a-0.png", "a-1.png", "d-6.png", "d-7.png"}));
  EXPECT_TRUE(contains(outcome.err, "in/b.png: is no picture that is read")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "in/c.png: ")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "2 pictures failed")) << outcome.err;
  const Outcome first = make({"-i", "in", "--fail-fast", "-o", "none/{input}.png"});
  EXPECT_EQ(first.exit_code, 3) << first.err;
  EXPECT_FALSE(fs::exists(folder_ / "none"));
}

TEST_F(Folders, WhatIsWrongWithAllOfThemEndsTheRun) {
  for (const auto& [words, code] : {std::pair{Words{"-i", "in/*.gif", "-o", "out/"}, 3},
                                    {{"-i", "in", "--mask", "in/[ab].png", "-o", "out/"}, 3},
                                    {{"-i", "in", "-o", "x.png"}, 2},
                                    {{"-i", "in", "-o", "in/"}, 2},
                                    {{"-i", "in", "-o", "-"}, 2}}) {
    const Outcome outcome = make(words);
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), code == 2 ? 2 : 1) << outcome.err;  // --help
  }
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  EXPECT_EQ(names("in").size(), 3u);
}

TEST_F(Folders, RecordsOfAFolderAreMadeAgain) {
  ASSERT_EQ(make({"-b", "2", "-o", "old/{seed}.png"}).exit_code, 0);
  const Outcome outcome = run({"--from-image", "old", "-o", "new/{input}.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  ASSERT_EQ(names("new"), names("old"));
  for (const std::string& name : names("old"))
    EXPECT_EQ(contents(folder_ / "new" / name), contents(folder_ / "old" / name)) << name;
}

}  // namespace
}  // namespace sdgen::test
