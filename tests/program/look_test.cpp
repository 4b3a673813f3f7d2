// What one sees of a run: previews, contact sheets, pictures in the terminal.
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/schema_validator.h"
#include "image/picture.h"
#include "image/png.h"
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

// --- progress in JSON

// The lines of --progress json on stderr, checked against the schema; others are for people.
std::vector<nlohmann::ordered_json> progress(const std::string& schema, const Outcome& outcome) {
  const SchemaValidator validator(nlohmann::ordered_json::parse(schema));
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream text(outcome.err);
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with('{')) continue;
    lines.push_back(nlohmann::ordered_json::parse(line));
    EXPECT_TRUE(validator.satisfies("progress", lines.back())) << line;
  }
  return lines;
}

TEST_F(Look, ProgressIsALineOfJsonForEveryStep) {
  const std::string schema = run({"--schema"}).out;
  const Outcome outcome = run(words({"--steps", "4", "-b", "3", "--batch-size", "2", "--preview-every", "2", "-q",
                                     "--progress", "json", "-o", "{index}.png"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto lines = progress(schema, outcome);
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), std::ptrdiff_t(lines.size())) << "with --quiet nothing else is said";
  std::map<int, int> steps, finished, previews;
  double seconds = 0;
  for (const auto& line : lines) {
    const int picture = line["picture"];
    EXPECT_EQ(line["pictures"], 3);
    EXPECT_EQ(line["file"], std::to_string(picture - 1) + ".png");
    EXPECT_EQ(line["of"], 4);
    EXPECT_GE(line["seconds"], seconds) << "time goes on";
    seconds = line["seconds"];
    if (line.contains("preview")) {
      EXPECT_EQ(line["preview"], std::to_string(picture - 1) + ".preview.png");
      EXPECT_EQ(line["step"], 2);
      ++previews[picture];
    } else if (line.contains("finished")) {
      EXPECT_EQ(line["step"], 4);
      ++finished[picture];
    } else {
      EXPECT_EQ(line["step"], ++steps[picture]);
    }
  }
  EXPECT_EQ(steps, (std::map<int, int>{{1, 4}, {2, 4}, {3, 4}}));
  EXPECT_EQ(finished, (std::map<int, int>{{1, 1}, {2, 1}, {3, 1}}));
  EXPECT_EQ(previews, (std::map<int, int>{{1, 1}, {2, 1}, {3, 1}}));
}

TEST_F(Look, ProgressInJsonKnowsNoNameOfStdoutAndNoBar) {
  const std::string schema = run({"--schema"}).out;
  const Outcome outcome = run(words({"--steps", "2", "--progress", "json", "-o", "-"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto lines = progress(schema, outcome);
  ASSERT_EQ(lines.size(), 3u) << outcome.err;
  EXPECT_EQ(lines[2]["file"], nullptr);
  EXPECT_EQ(lines[2]["finished"], true);
  EXPECT_FALSE(contains(outcome.err, "it/s")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "sdgen: model ")) << "what is for people is still said";
  EXPECT_EQ(run(words({"--progress", "xml"})).exit_code, 2);
}

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
    Process process(
        words({"--steps", "900", "--preview-every", "1", "-b", "3", "--batch-size", "3", "-o", "{index}.png"}),
        top_ / "logs", setup_);
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder_ / "2.preview.png"); }));
    process.signal(signal);
    EXPECT_EQ(process.wait().exit_code, 128 + signal);
    EXPECT_TRUE(files().empty());
  }
}

// A second signal ends the program at once.
TEST_F(Look, PreviewsAreGoneEvenThen) {
  Process process(words({"--steps", "900", "--preview-every", "1", "-o", "fox.png"}), top_ / "logs", setup_);
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
    Words all = {"-m", model(),       "--prompts", "jobs.txt", "-s",           "7", "--steps", "1",
                 "-o", "{index}.png", "--grid",    "2x1",      "--no-manifest"};
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

// --- on a terminal

// What the program, run with stderr on a terminal of 40 columns, writes there.
class OnATerminal : public Look {
 protected:
  Outcome run_on_terminal(const Words& words) {
    const winsize size = {24, 40, 0, 0};
    Terminal terminal(&size);
    if (!terminal.opened()) return {-1, "", "no pseudoterminal"};
    setup_.in_child = terminal.in_child();
    Process process(words, top_ / "logs", setup_);
    return terminal.watch(process);
  }
  void SetUp() override {
    Look::SetUp();
    for (const char* name : {"SDGEN_SHOW", "KITTY_WINDOW_ID", "TERM_PROGRAM", "KONSOLE_VERSION", "WT_SESSION", "TMUX",
                             "STY", "LC_TERMINAL", "COLORTERM"})
      setup_.environment[name] = std::nullopt;
    setup_.environment["TERM"] = "xterm-256color";
  }
};

TEST_F(OnATerminal, PicturesAreShown) {
  const Outcome outcome = run_on_terminal(words({"--steps", "1", "-b", "2", "-o", "{index}.png", "--show", "-q"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "0.png\n1.png\n");
  EXPECT_TRUE(outcome.err.starts_with("\x1b[38;5;")) << outcome.err.substr(0, 80);
  std::size_t rows = 0, blocks = 0;
  for (std::size_t at = 0; (at = outcome.err.find('\n', at)) != outcome.err.npos; ++at) ++rows;
  for (std::size_t at = 0; (at = outcome.err.find("\u2580", at)) != outcome.err.npos; ++at) ++blocks;
  const auto [width, height] = png_size(contents(folder_ / "0.png"));
  const int columns = std::min(width, 40);
  EXPECT_EQ(rows, 2u * ((height * columns / width + 1) / 2));
  EXPECT_EQ(blocks, rows * columns);

  setup_.environment["SDGEN_SHOW"] = "kitty";
  EXPECT_TRUE(
      run_on_terminal(words({"--steps", "1", "-o", "k.png", "--show", "-q"})).err.starts_with("\x1b_Ga=T,f=100"));
}

TEST_F(OnATerminal, TheBarOfABatchTellsOfTheWholeRun) {
  const Outcome outcome = run_on_terminal(words({"--steps", "20", "-b", "2", "-o", "{index}.png"}));
  ASSERT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(contains(outcome.err, "\rpicture 1 of 2  ")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "\rpicture 2 of 2  ")) << outcome.err;
}

TEST_F(Look, PicturesAreShownOnTerminalsOnly) {
  const Outcome outcome = run(words({"--steps", "1", "--show", "-o", "fox.png"}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "not a terminal")) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(OnATerminal, ADumbOneShowsNothing) {
  setup_.environment["TERM"] = "dumb";
  const Outcome outcome = run_on_terminal(words({"--steps", "1", "--show", "-o", "fox.png"}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "TERM is 'dumb'")) << outcome.err;
}

// A pipe that is still open has no end that one could tell.
TEST_F(Look, NoTotalIsClaimedOfAnOpenPipe) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int writer = open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  Process process({"-m", model(), "--prompts", "pipe", "-s", "7", "--scheduler", "ddim", "--steps", "900", "-o",
                   "{index}.png", "--preview-every", "1"},
                  top_ / "logs", setup_);
  ASSERT_EQ(write(writer, "a fox\n", 6), 6);
  ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder_ / "0.preview.png"); }));
  process.signal(SIGINT);
  const Outcome outcome = process.wait();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_TRUE(contains(outcome.err, "0 pictures are finished")) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, " of 1")) << outcome.err;
  close(writer);
}

}  // namespace
}  // namespace sdgen::test
