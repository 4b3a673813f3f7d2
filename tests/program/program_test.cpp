// The executable as its users and their scripts see it: what it takes, what it makes, and what it says where.
#include "program/program.h"

#include <gtest/gtest.h>
#include <pty.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/pictures.h"
#include "image/png.h"

namespace sdgen::test {
namespace {

// --- without a model

TEST_F(Program, HelpVersionAndListGoToStdout) {
  for (const Words& words : {Words{"--help"}, {"-h"}, {"--version"}, {"--list-schedulers"}, {"--schema"}}) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 0) << words[0];
    EXPECT_GT(outcome.out.size(), 10u) << words[0];
    EXPECT_EQ(outcome.err, "") << words[0];
  }
  EXPECT_TRUE(run({"--version"}).out.starts_with("sdgen "));
  EXPECT_TRUE(contains(run({"--list-schedulers"}).out, "DDIMScheduler"));
}

// GNU's starves other processes on the machine (src/program/open_core.cpp).
TEST_F(Program, ThreadsWaitInTheRunTimeThatYields) {
  EXPECT_TRUE(contains(run({"--version"}).out, "OpenMP of LLVM\n")) << "is libomp5 installed (scripts/setup)?";
}

TEST_F(Program, WithoutItsCoreItSaysSoWhereANetworkIsWanted) {
  fs::copy_file(SDGEN_BINARY, folder_ / "sdgen");
  const auto run_copy = [&](const std::string& words) {
    const int status = std::system((folder_ / "sdgen").string().append(" " + words + " > out 2> err").c_str());
    return WEXITSTATUS(status);
  };
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  EXPECT_EQ(run_copy("--list-schedulers"), 0);
  EXPECT_EQ(run_copy("--version"), 70);
  EXPECT_TRUE(contains(contents("err"), "libsdgen_core.so is not there")) << contents("err");
  fs::current_path(before);
}

// As `cmake --install` lays it out.
TEST_F(Program, ItsCoreMayLieInLibSdgen) {
  const fs::path built = fs::path(SDGEN_BINARY).parent_path() / "libsdgen_core.so";
  fs::create_directories(folder_ / "bin");
  fs::create_directories(folder_ / "lib/sdgen");
  fs::copy_file(SDGEN_BINARY, folder_ / "bin/sdgen");
  fs::create_symlink(built, folder_ / "lib/sdgen/libsdgen_core.so");
  const std::string log = (folder_ / "log").string();
  const int status = std::system(((folder_ / "bin/sdgen").string() + " --version > " + log + " 2>&1").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 0) << contents(log);
  EXPECT_TRUE(contains(contents(log), "libtorch")) << contents(log);
}

TEST_F(Program, WrongUsageSaysHowAndEndsAtOnce) {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{}, "no prompt"},
      {{"-p", "x", "--widht", "64"}, "did you mean --width?"},
      {{"-p", "x", "--scheduler", "ddmi"}, "unknown scheduler 'ddmi'; did you mean ddim?"},
      {{"-p", "x", "--seed", "-2"}, "--seed: '-2'"},
      {{"-p", "x", "--steps", "1e3"}, "--steps: '1e3'"},
      {{"-p", "x", "-b", "2", "-o", "x.png"}, "{index} or {seed}"},
      {{"-p", "x", "-o", "{name}.png"}, "unknown field {name}"},
      {{"-p", "\xff"}, "not UTF-8"},
      {{"-p", "x", "--skip-existing"}, "--seed"},
  };
  for (const auto& [words, message] : cases) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_EQ(outcome.out, "") << message;
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
    EXPECT_TRUE(outcome.err.ends_with("\nsee sdgen --help\n")) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 2) << outcome.err;
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(Program, MissingModelIsNamed) {
  Outcome outcome = run({"-p", "x", "-m", "no/such/model"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "no/such/model")) << outcome.err;

  setup_.environment["SDGEN_MODEL"] = "/no/such/folder";
  outcome = run({"-p", "x"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "/no/such/folder")) << outcome.err;

  outcome = run({"-p", "x", "-m", folder_.string()});  // a folder, but no model
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, folder_.string())) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(files().empty());
}

TEST_F(Program, FullOrClosedStdoutFailsHelpToo) {
  setup_.in_child = [] { return dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO) != -1; };
  EXPECT_EQ(run({"--help"}).exit_code, 4);
  setup_.in_child = [] { return close(STDOUT_FILENO) == 0; };
  EXPECT_EQ(run({"--help"}).exit_code, 4);
}

// --- a model without text

const std::string kUnconditional = SDGEN_FIXTURES "/tiny-ddpm";

TEST_F(Program, DrawsWithoutAPromptWhereTheModelTakesNone) {
  const Outcome outcome =
      run({"-m", kUnconditional, "-s", "7", "--steps", "3", "-b", "2", "--json", "-o", "{index}.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out.substr(0, outcome.out.find('\n')));
  EXPECT_EQ(json["file"], "0.png");
  EXPECT_EQ(json["scheduler_used"], "ddpm");
  for (const char* key : {"prompt", "negative_prompt", "guidance_scale"}) EXPECT_FALSE(json.contains(key)) << key;
  EXPECT_EQ(png_size(contents(folder_ / "0.png")), std::pair(8, 8));
  EXPECT_NE(contents(folder_ / "0.png"), contents(folder_ / "1.png"));
  EXPECT_TRUE(read_png_text(folder_ / "0.png").at(0).text.starts_with("Steps: 3, Sampler: "));
}

TEST_F(Program, SaysWhyAModelTakesNoPromptAndWhyAnotherNeedsOne) {
  for (const Words& words : {Words{"-p", "x"},
                             {"-n", "x"},
                             {"-g", "2"},
                             {"--clip-skip", "1"},
                             {"--vae", "x"},
                             {"--text-encoder", SDGEN_FIXTURES "/tiny-sd/text_encoder"}}) {
    Words all{"-m", kUnconditional, "--steps", "1"};
    all.insert(all.end(), words.begin(), words.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.exit_code, 2) << words[0];
    EXPECT_TRUE(contains(outcome.err, words[0] == "--vae"            ? "draws pixels"
                                      : words[0] == "--text-encoder" ? "takes none"
                                                                     : "takes no text"))
        << outcome.err;
  }
  const Outcome outcome = run({"-m", SDGEN_FIXTURES "/tiny-sd", "--steps", "1"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "no prompt: say with --prompt what")) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(Program, SizesOfPixelModelsAreMultiplesOfTheirNetworks) {
  const Outcome outcome = run({"-m", kUnconditional, "-W", "9", "--steps", "1"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "not a multiple of 2")) << outcome.err;
}

// --- pictures

TEST_F(ProgramWithModel, MakesAPicture) {
  const Outcome outcome = make({"-o", "fox.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "fox.png\n");
  EXPECT_FALSE(contains(outcome.err, "\r")) << "a moving bar, but stderr is not a terminal";
  EXPECT_EQ(files(), std::set<std::string>{"fox.png"});
  EXPECT_NE(png_size(contents(folder_ / "fox.png")), std::pair(0, 0));

  const std::vector<PictureText> texts = read_png_text(folder_ / "fox.png");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0].keyword, "parameters");
  EXPECT_EQ(texts[1].keyword, "sdgen");
  EXPECT_EQ(texts[2].keyword, "XML:com.adobe.xmp");
  EXPECT_TRUE(texts[0].text.starts_with("a red fox\nSteps: 2, Sampler: ")) << texts[0].text;
  EXPECT_TRUE(contains(texts[0].text, ", Seed: 7, Size: ")) << texts[0].text;
}

TEST_F(ProgramWithModel, SettingsReachThePicture) {
  const Outcome outcome =
      make({"-W", "48", "-H", "64", "--scheduler", "Euler", "-g", "3", "-n", "灰色", "-o", "{prompt}.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "a_red_fox.png\n");
  EXPECT_EQ(png_size(contents(folder_ / "a_red_fox.png")), std::pair(48, 64));
  const std::string text = read_png_text(folder_ / "a_red_fox.png").at(0).text;
  EXPECT_TRUE(text.starts_with("a red fox\nNegative prompt: 灰色\nSteps: 2, Sampler: Euler, ")) << text;
  EXPECT_TRUE(contains(text, "CFG scale: 3, Seed: 7, Size: 48x64, ")) << text;
}

TEST_F(ProgramWithModel, RandomSeedIsPrintedAndRecorded) {
  const Outcome outcome = run({"-m", model(), "-p", "x", "--steps", "1"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string seed = outcome.out.substr(6, outcome.out.find(".png") - 6);  // sdgen-SEED.png
  EXPECT_LT(std::stoull(seed), 1ull << 32);
  EXPECT_TRUE(contains(outcome.err, "seed " + seed + "\n")) << outcome.err;
  EXPECT_TRUE(contains(read_png_text(folder_ / ("sdgen-" + seed + ".png")).at(0).text, "Seed: " + seed + ","));
}

TEST_F(ProgramWithModel, SeveralPicturesCountSeeds) {
  Outcome outcome = make({"-b", "3", "-o", "{index:03}-{seed}.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "000-7.png\n001-8.png\n002-9.png\n");
  EXPECT_EQ(files().size(), 3u);
  outcome = make({"-o", "single.png", "--no-metadata"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  outcome = make({"-b", "3", "--no-metadata", "--overwrite", "-o", "{index:03}-{seed}.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(contents(folder_ / "single.png"), contents(folder_ / "000-7.png"));
  EXPECT_NE(contents(folder_ / "single.png"), contents(folder_ / "001-8.png"));
  const auto texts = read_png_text(folder_ / "single.png");
  ASSERT_EQ(texts.size(), 1u);  // the mark is no setting
  EXPECT_EQ(texts[0].keyword, "XML:com.adobe.xmp");
}

TEST_F(ProgramWithModel, BatchesMakeTheSamePlaces) {
  const Outcome outcome = make({"-b", "3", "--batch-size", "2"});  // the last batch is short
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "00000-7.png\n00001-8.png\n00002-9.png\n");
}

TEST_F(ProgramWithModel, JsonLinesSayWhatWasMade) {
  const Outcome outcome = make({"-b", "2", "--json", "-q", "-o", "{index}.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  std::istringstream lines(outcome.out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["file"], std::to_string(count) + ".png");
    EXPECT_EQ(json["seed"], 7 + count);
    EXPECT_EQ(json["prompt"], "a red fox");
    EXPECT_EQ(json["steps"], 2);
    EXPECT_EQ(std::pair(json["width"].get<int>(), json["height"].get<int>()),
              png_size(contents(folder_ / json["file"].get<std::string>())));
    for (const char* key : {"scheduler_used", "guidance_scale", "model"}) EXPECT_TRUE(json.contains(key)) << key;
    for (const char* stage : {"load", "text", "denoise", "decode"}) EXPECT_GT(json["timings"][stage], 0) << stage;
  }
  EXPECT_EQ(count, 2);
}

TEST_F(ProgramWithModel, PngGoesToStdout) {
  const Outcome outcome = make({"-o", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(png_size(outcome.out), std::pair(0, 0));
  EXPECT_TRUE(files().empty());
}

TEST_F(ProgramWithModel, QuietSaysNothing) {
  const Outcome outcome = run({"-m", model(), "-p", "x", "--steps", "1", "-q", "-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(outcome.out, "x.png\n");
}

TEST_F(ProgramWithModel, BarMovesOnATerminal) {
  Terminal terminal;
  ASSERT_TRUE(terminal.opened()) << "there is no pseudoterminal";
  setup_.in_child = terminal.in_child();
  Process process({"-m", model(), "-p", "x", "--scheduler", "ddim", "--steps", "30", "-s", "1"}, top_ / "logs", setup_);
  const auto [exit_code, out, seen] = terminal.watch(process);
  EXPECT_EQ(exit_code, 0);
  EXPECT_TRUE(contains(seen, "\rpicture 1 of 1  [")) << seen;
  EXPECT_TRUE(contains(seen, "/30  ")) << seen;
  EXPECT_TRUE(contains(seen, "ETA ")) << seen;
  EXPECT_TRUE(contains(seen, "\r\x1b[K")) << "the bar was not cleared";
}

}  // namespace
}  // namespace sdgen::test
