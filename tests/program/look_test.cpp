// What one sees of a run: previews, contact sheets, pictures in the terminal.
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/stat.h>

#include "io/picture.h"
#include "io/png.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

class Look : public ProgramWithModel {
 protected:
  Words words(const Words& more) {
    Words all = {"-m", model(), "-p", "a red fox", "-s", "7", "--scheduler", "ddim", "--no-metadata"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

// --- previews

TEST_F(Look, APreviewLiesBesideThePictureUntilThatIsThere) {
  Process process(words({"--steps", "300", "--preview-every", "1", "-o", "fox.png"}), top_ / "logs", setup_);
  const fs::path preview = folder_ / "fox.preview.png";
  ASSERT_TRUE(process.wait_until([&] { return fs::exists(preview); }));
  const auto size = png_size(contents(preview));  // whole, whenever one looks
  EXPECT_NE(size, std::pair(0, 0));
  EXPECT_FALSE(fs::exists(folder_ / "fox.png"));
  EXPECT_EQ(process.wait().exit_code, 0);
  EXPECT_EQ(files(), std::set<std::string>{"fox.png"});
  EXPECT_EQ(png_size(contents(folder_ / "fox.png")), size);
}

TEST_F(Look, PreviewsChangeNoByte) {
  ASSERT_EQ(run(words({"--steps", "4", "-o", "with.png", "--preview-every", "1"})).exit_code, 0);
  ASSERT_EQ(run(words({"--steps", "4", "-o", "without.png"})).exit_code, 0);
  EXPECT_EQ(contents(folder_ / "with.png"), contents(folder_ / "without.png"));
}

TEST_F(Look, PreviewsOfARunThatIsEndedAreGone) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Process process(words({"--steps", "3000", "--preview-every", "1", "-b", "3", "--batch-size", "3", "-o",
                           "{index}.png"}),
                    top_ / "logs", setup_);
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder_ / "2.preview.png"); }));
    process.signal(signal);
    EXPECT_EQ(process.wait().exit_code, 128 + signal);
    EXPECT_TRUE(files().empty());
  }
}

// A second signal ends the program at once.
TEST_F(Look, PreviewsAreGoneEvenThen) {
  Process process(words({"--steps", "3000", "--preview-every", "1", "-o", "fox.png"}), top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder_ / "fox.preview.png"); }));
  process.signal(SIGINT);
  process.signal(SIGINT);
  EXPECT_EQ(process.wait().exit_code, 130);
  EXPECT_TRUE(files().empty());
}

TEST_F(Look, ADeviceHasNoPreview) {
  const Outcome outcome = run(words({"--steps", "1", "--preview-every", "1", "-o", "/dev/null"}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "--preview-every: '/dev/null'")) << outcome.err;
}

// --- sheets

TEST_F(Look, ASheetShowsTheRunsPictures) {
  const Outcome outcome = run(words({"--steps", "1", "-b", "3", "--grid", "auto", "-o", "{index}.png"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "0.png\n1.png\n2.png\n");
  EXPECT_TRUE(contains(outcome.err, "sheet grid-0.png")) << outcome.err;
  EXPECT_EQ(files(), (std::set<std::string>{"0.png", "1.png", "2.png", "grid-0.png"}));
  const auto [width, height] = png_size(contents(folder_ / "0.png"));
  const Image sheet = read_picture(folder_ / "grid-0.png");
  EXPECT_EQ(sheet.width, 2 * (width + 8) + 8);
  const Image second = read_picture(folder_ / "1.png");
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < 3 * width; ++x)
      ASSERT_EQ(sheet.rgb[std::size_t(8 + y) * 3 * sheet.width + 3 * (16 + width) + x],
                second.rgb[std::size_t(y) * 3 * width + x]);
}

TEST_F(Look, AResumedRunMakesTheSameSheets) {
  std::ofstream(folder_ / "jobs.txt") << "a fox\na bird --steps 2\na cat\na dog --scheduler nonsense\na bear\n";
  const auto batch = [&](Words more) {
    Words all = {"-m", model(), "--prompts", "jobs.txt", "-s", "7", "--steps", "1", "-o", "{index}.png", "--grid",
                 "2x1", "--no-manifest"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all).exit_code;
  };
  ASSERT_EQ(batch({}), 1);
  const Words sheets = {"grid-0.png", "grid-2.png", "grid-4.png"};
  std::map<std::string, std::string> before;
  for (const std::string& sheet : sheets) before[sheet] = contents(folder_ / sheet);
  EXPECT_EQ(batch({}), 4);  // they exist
  for (const char* gone : {"1.png", "grid-0.png", "grid-4.png"}) ASSERT_TRUE(fs::remove(folder_ / gone));
  EXPECT_EQ(batch({"--skip-existing"}), 1);
  for (const std::string& sheet : sheets) EXPECT_TRUE(contents(folder_ / sheet) == before[sheet]) << sheet;
  ASSERT_TRUE(fs::remove(folder_ / "grid-2.png"));
  EXPECT_EQ(batch({"--skip-existing"}), 1);  // nothing but the sheet is left to do
  EXPECT_TRUE(contents(folder_ / "grid-2.png") == before["grid-2.png"]);
}

}  // namespace
}  // namespace sdgen::test
