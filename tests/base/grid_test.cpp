// --grid: which pictures are in which sheet, and what is said about them.
#include "cli/grid.h"

#include <gtest/gtest.h>

#include "base/pictures.h"
#include "base/scratch.h"
#include "image/picture.h"
#include "image/png.h"

namespace sdgen::cli {
namespace {

Image plain(int side, std::uint8_t sample) {
  return {side, side, std::vector<std::uint8_t>(3 * std::size_t(side) * side, sample)};
}

struct GridTest : testing::Test {
  GridEntry entry(std::uint64_t index, bool exists = false) {
    return {index, scratch_ / (std::to_string(index) + ".png"), exists, {{"seed", std::to_string(index)}}};
  }
  // Plans and makes pictures [0, count) except for `failed`.
  void make(Grid& grid, std::uint64_t count, std::set<std::uint64_t> failed = {}) {
    for (std::uint64_t i = 0; i < count; ++i) grid.plan(entry(i));
    for (std::uint64_t i = 0; i < count; ++i)
      if (!failed.count(i)) grid.add(i, plain(64, static_cast<std::uint8_t>(i)));
    grid.end();
  }
  Size size(const std::string& name) { return read_png_size(scratch_ / name); }
  Scratch scratch_;
};

TEST(GridLabels, SaySeedsAndWhatDiffers) {
  const std::vector<std::string> labels = grid_labels({
      {0, "", false, {{"seed", "7"}, {"prompt", "a fox"}, {"steps", "9"}, {"scheduler", "ddim"}}},
      {1, "", false, {{"seed", "7"}, {"prompt", "a bird"}, {"scheduler", "ddim"}, {"guess-mode", ""}}},
  });
  EXPECT_EQ(labels, (std::vector<std::string>{"seed 7\na fox\nsteps 9", "seed 7\na bird\nguess-mode"}));
}

TEST(GridLabels, ComeFromTheJob) {
  Job job{{}, "x.png", "", {}, 3, {{"--seed", "7"}, {"--control-scale", "1"}, {"--control-scale", "0.5"}}};
  job.request.seed = 9;
  job.request.prompt = "a fox";
  const GridEntry entry = grid_entry(job, true);
  EXPECT_EQ(entry.index, 3u);
  EXPECT_TRUE(entry.exists);
  EXPECT_EQ(entry.given, (decltype(entry.given){{"seed", "9"}, {"prompt", "a fox"}, {"control-scale", "1, 0.5"}}));
}

TEST_F(GridTest, SheetsAreNamedAfterTheirFirstPicture) {
  EXPECT_EQ(sheet_file("out/00007-3.png"), "out/grid-00007-3.png");
  EXPECT_EQ(sheet_file("a.b/x.jpg"), "a.b/grid-x.png");
  Grid grid({2, 1}, {});
  make(grid, 5);
  EXPECT_EQ(scratch_.names(), (std::set<std::string>{"grid-0.png", "grid-2.png", "grid-4.png"}));
  EXPECT_EQ(size("grid-0.png"), size("grid-4.png"));  // the last one is not full
}

TEST_F(GridTest, AutomaticIsAsSquareAsPossible) {
  Grid small({}, {}), large({}, {.existing = Existing::replaced});
  make(small, 5);
  const Size three_by_two = size("grid-0.png");
  EXPECT_EQ(three_by_two.width, 3 * 72 + 8);
  EXPECT_EQ(scratch_.names().size(), 1u);
  make(large, 130);
  EXPECT_EQ(scratch_.names(), (std::set<std::string>{"grid-0.png", "grid-100.png"}));
  EXPECT_EQ(size("grid-0.png").width, 10 * 72 + 8);
  EXPECT_EQ(size("grid-100.png"), size("grid-0.png"));
}

TEST_F(GridTest, WhatFailedLeavesItsCellEmpty) {
  Grid grid({2, 2}, {});
  make(grid, 4, {0, 3});
  const Image sheet = read_picture(scratch_ / "grid-0.png");
  const auto at = [&](int x, int y) { return int(sheet.rgb[3 * (std::size_t(y) * sheet.width + x)]); };
  const int second = sheet.height - (sheet.height - 8) / 2;
  EXPECT_EQ(at(8, 8), 244);
  EXPECT_EQ(at(80, 8), 1);
  EXPECT_EQ(at(8, second), 2);
  EXPECT_EQ(at(80, second), 244);
}

TEST_F(GridTest, ARunWithoutPicturesHasNoSheet) {
  Grid grid({}, {});
  make(grid, 2, {0, 1});
  EXPECT_TRUE(scratch_.names().empty());
}

TEST_F(GridTest, PicturesThatAreThereAreReadFromTheirFiles) {
  Grid whole({2, 1}, {});
  make(whole, 4);
  const std::string first = contents(scratch_ / "grid-0.png"), second = contents(scratch_ / "grid-2.png");
  for (const int i : {0, 1, 2}) {
    const auto png = encode_png(plain(64, static_cast<std::uint8_t>(i)), {});
    scratch_.write(std::to_string(i) + ".png", {reinterpret_cast<const char*>(png.data()), png.size()});
  }
  std::filesystem::remove(scratch_ / "grid-2.png");
  std::vector<std::string> notes;
  Grid resumed({2, 1}, {.existing = Existing::kept, .note = [&](const std::string& line) { notes.push_back(line); }});
  for (const std::uint64_t i : {0, 1, 2, 3}) resumed.plan(entry(i, i < 3));
  resumed.add(3, plain(64, 3));
  resumed.end();
  EXPECT_EQ(contents(scratch_ / "grid-0.png"), first);
  EXPECT_EQ(contents(scratch_ / "grid-2.png"), second);
  EXPECT_EQ(notes, std::vector<std::string>{"sheet " + (scratch_ / "grid-2.png").string()});
}

TEST_F(GridTest, ASheetThatIsThereIsNotReplaced) {
  scratch_.write("grid-0.png", "mine");
  Grid careful({}, {}), overwriting({}, {.existing = Existing::replaced});
  EXPECT_CONTAINS(message_of(Fault::output, [&] { careful.plan(entry(0)); }), "--overwrite replaces it");
  make(overwriting, 1);
  EXPECT_NE(contents(scratch_ / "grid-0.png"), "mine");
}

TEST_F(GridTest, ADeviceHasNothingBesideIt) {
  Grid grid({}, {});
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { grid.plan({0, "/dev/null"}); }), "/dev/null");
}

TEST_F(GridTest, LargePicturesAreShownSmaller) {
  std::vector<std::string> notes;
  Grid grid({64, 1}, {.note = [&](const std::string& line) { notes.push_back(line); }});
  grid.plan(entry(0));
  grid.add(0, plain(1024, 9));
  grid.end();
  EXPECT_LE(size("grid-0.png").width, kLongestSheet);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_CONTAINS(notes[0], "made smaller");
}

}  // namespace
}  // namespace sdgen::cli
