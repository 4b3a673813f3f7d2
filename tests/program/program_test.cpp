// The executable as its users and their job systems see it: exit codes, streams, files, signals (cli.md's last
// section).
#include "program/program.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "io/png.h"

namespace sdgen::test {
namespace {

using Words = std::vector<std::string>;

class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "sdgen-program-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    top_ = name;
    fs::create_directory(top_ / "logs");
    fs::create_directory(folder_ = top_ / "work");
    setup_.folder = folder_;
    setup_.environment = {{"SDGEN_MODEL", std::nullopt}, {"SDGEN_DATA", std::nullopt}};
  }
  void TearDown() override { fs::remove_all(top_); }

  Outcome run(const Words& words) { return Process(words, top_ / "logs", setup_).wait(); }

  // The same with a model, a prompt, a seed and few steps.
  Outcome make(Words words) {
    words.insert(words.begin(), {"-m", model(), "-p", "a red fox", "-s", "7", "--steps", "2"});
    return run(words);
  }

  static std::string model() {
    for (const char* place : {SDGEN_FIXTURES "/tiny-sd", SDGEN_SOURCE "/models/default"}) {
      if (fs::exists(fs::path(place) / "model_index.json")) return place;
    }
    return "";
  }

  // What lies in the working folder, hidden and temporary files included.
  std::set<std::string> files() {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      names.insert(entry.path().lexically_relative(folder_).string());
    }
    return names;
  }

  fs::path top_, folder_;
  Process::Setup setup_;
};

class ProgramWithModel : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    if (model().empty()) GTEST_SKIP() << "there is neither tests/fixtures/tiny-sd nor models/default";
  }
};

// Width and height of a whole PNG file (signature, IHDR, IEND); zeros for anything else.
std::pair<int, int> png_size(const std::string& bytes) {
  const auto big_endian = [&bytes](std::size_t at) {
    int value = 0;
    for (std::size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  };
  if (bytes.size() < 45 || !bytes.starts_with("\x89PNG\r\n\x1a\n") || !bytes.ends_with("IEND\xae\x42\x60\x82"))
    return {};
  return {big_endian(16), big_endian(20)};
}

// --- without a model

TEST_F(Program, HelpVersionAndListGoToStdout) {
  for (const Words& words : {Words{"--help"}, {"-h"}, {"--version"}, {"--list-schedulers"}}) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 0) << words[0];
    EXPECT_GT(outcome.out.size(), 10u) << words[0];
    EXPECT_EQ(outcome.err, "") << words[0];
  }
  EXPECT_TRUE(run({"--version"}).out.starts_with("sdgen "));
  EXPECT_TRUE(contains(run({"--list-schedulers"}).out, "DDIMScheduler"));
}

TEST_F(Program, WrongUsageSaysHowAndEndsAtOnce) {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{}, "no prompt"},
      {{"-p", "x", "--widht", "64"}, "did you mean --width?"},
      {{"-p", "x", "--scheduler", "ddmi"}, "unknown scheduler 'ddmi'; did you mean ddim?"},
      {{"-p", "x", "--seed", "-1"}, "--seed: '-1'"},
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

// --- pictures

TEST_F(ProgramWithModel, MakesAPicture) {
  const Outcome outcome = make({"-o", "fox.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "fox.png\n");
  EXPECT_FALSE(contains(outcome.err, "\r")) << "a moving bar, but stderr is no terminal";
  EXPECT_EQ(files(), std::set<std::string>{"fox.png"});
  EXPECT_NE(png_size(contents(folder_ / "fox.png")), std::pair(0, 0));

  const std::vector<PngText> texts = read_png_text(folder_ / "fox.png");
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].keyword, "parameters");
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
  EXPECT_TRUE(read_png_text(folder_ / "single.png").empty());
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
    for (const char* key : {"scheduler", "guidance_scale", "model"}) EXPECT_TRUE(json.contains(key)) << key;
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
  int terminal = -1, screen = -1;
  if (openpty(&terminal, &screen, nullptr, nullptr, nullptr) != 0) GTEST_SKIP() << "there is no pseudoterminal";
  setup_.in_child = [screen] { return dup2(screen, STDERR_FILENO) != -1; };
  Process process({"-m", model(), "-p", "x", "--scheduler", "ddim", "--steps", "30", "-s", "1"}, top_ / "logs", setup_);
  std::string seen;
  const auto read_screen = [&] {
    pollfd ready{terminal, POLLIN, 0};
    char text[4096];
    while (poll(&ready, 1, 0) == 1) {
      const ssize_t count = read(terminal, text, sizeof text);
      if (count <= 0) break;
      seen.append(text, static_cast<std::size_t>(count));
    }
    return false;
  };
  process.wait_until(read_screen);
  EXPECT_EQ(process.wait().exit_code, 0);
  read_screen();
  EXPECT_TRUE(contains(seen, "\rpicture 1 of 1  [")) << seen;
  EXPECT_TRUE(contains(seen, "/30  ")) << seen;
  EXPECT_TRUE(contains(seen, "ETA ")) << seen;
  EXPECT_TRUE(contains(seen, "\r\x1b[K")) << "the bar was not cleared";
  close(terminal);
  close(screen);
}

// --- what stops a run

TEST_F(ProgramWithModel, WrongSizeNamesTheNearest) {
  const Outcome outcome = make({"-W", "63", "-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "63")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "64")) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(ProgramWithModel, CutModelIsNamed) {
  const fs::path copy = top_ / "model";
  fs::copy(model(), copy, fs::copy_options::recursive);
  const fs::path weights = copy / "unet" / "diffusion_pytorch_model.safetensors";
  ASSERT_TRUE(fs::exists(weights));
  fs::resize_file(weights, fs::file_size(weights) / 2);
  const Outcome outcome = run({"-m", copy.string(), "-p", "x", "-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, weights.string())) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(ProgramWithModel, ExistingFileIsKeptUnlessAskedOtherwise) {
  std::ofstream(folder_ / "x.png") << "mine";
  Outcome outcome = make({"-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_TRUE(contains(outcome.err, "--overwrite")) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, "loaded")) << "the model was loaded in vain";
  EXPECT_EQ(contents(folder_ / "x.png"), "mine");

  outcome = make({"-o", "x.png", "--skip-existing"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(contents(folder_ / "x.png"), "mine");

  outcome = make({"-o", "x.png", "--overwrite"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(png_size(contents(folder_ / "x.png")), std::pair(0, 0));
  EXPECT_EQ(files(), std::set<std::string>{"x.png"});
}

TEST_F(ProgramWithModel, SkippingMakesTheMissingOnes) {
  std::ofstream(folder_ / "1.png") << "mine";
  const Outcome outcome = make({"-b", "3", "-o", "{index}.png", "--skip-existing", "--no-metadata"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "0.png\n2.png\n");
  EXPECT_EQ(contents(folder_ / "1.png"), "mine");
  ASSERT_EQ(make({"-s", "9", "-o", "seed9.png"}).exit_code, 2);  // -s is given twice
  ASSERT_EQ(
      run({"-m", model(), "-p", "a red fox", "--steps", "2", "-s", "9", "-o", "9.png", "--no-metadata"}).exit_code, 0);
  EXPECT_EQ(contents(folder_ / "9.png"), contents(folder_ / "2.png"));  // seed 7 + 2, whatever was skipped
}

TEST_F(ProgramWithModel, UnwritableFolderIsFoundBeforeLoading) {
  std::ofstream(folder_ / "file") << "x";
  std::vector<std::string> places = {"missing/x.png", "file/x.png", "/proc/x.png"};
  fs::create_directory(folder_ / "locked");
  chmod((folder_ / "locked").c_str(), 0555);
  if (geteuid() != 0) places.push_back("locked/x.png");  // root may write everywhere
  for (const std::string& place : places) {
    const Outcome outcome = make({"-o", place});
    EXPECT_EQ(outcome.exit_code, 4) << place << ": " << outcome.err;
    EXPECT_TRUE(contains(outcome.err, fs::path(place).parent_path().string())) << outcome.err;
    EXPECT_FALSE(contains(outcome.err, "loaded")) << "the model was loaded in vain";
    EXPECT_EQ(outcome.out, "");
  }
  EXPECT_EQ(files(), (std::set<std::string>{"file", "locked"}));
}

TEST_F(ProgramWithModel, ReadOnlyDiskIsFoundBeforeLoading) {
  SmallDisk disk(folder_, 1 << 20);
  if (!disk.mounted() || !disk.make_read_only()) GTEST_SKIP() << "this process may not mount a tmpfs";
  const Outcome outcome = make({"-o", (folder_ / "x.png").string()});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_TRUE(contains(outcome.err, "Read-only file system")) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, "loaded"));
}

TEST_F(ProgramWithModel, FullDiskLeavesNothingBehind) {
  SmallDisk disk(folder_, 16384);  // room for the probe, none for a picture of noise
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a tmpfs";
  const Outcome outcome = make({"-W", "128", "-H", "128", "-o", (folder_ / "x.png").string()});
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "No space left on device")) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(files().empty());
}

TEST_F(ProgramWithModel, FileSizeLimitLeavesNothingBehind) {
  setup_.in_child = [] {
    const rlimit limit{8192, 8192};
    return setrlimit(RLIMIT_FSIZE, &limit) == 0;
  };
  const Outcome outcome = make({"-W", "128", "-H", "128", "-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "x.png")) << outcome.err;
  EXPECT_TRUE(files().empty());
}

TEST_F(ProgramWithModel, FullDeviceIsAnOutputError) {
  const Outcome outcome = make({"-o", "/dev/full"});
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "/dev/full")) << outcome.err;
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(ProgramWithModel, StdoutThatCannotBeWrittenIsAnOutputError) {
  setup_.in_child = [] { return dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO) != -1; };
  EXPECT_EQ(make({"-o", "full.png"}).exit_code, 4);
  EXPECT_NE(png_size(contents(folder_ / "full.png")), std::pair(0, 0));  // the picture itself is whole

  setup_.in_child = [] { return close(STDOUT_FILENO) == 0; };
  EXPECT_EQ(make({"-o", "closed.png"}).exit_code, 4);
  EXPECT_NE(png_size(contents(folder_ / "closed.png")), std::pair(0, 0));  // and no path was written into it

  setup_.in_child = [] {
    int ends[2];
    return pipe(ends) == 0 && dup2(ends[1], STDOUT_FILENO) != -1 && close(ends[0]) == 0 && close(ends[1]) == 0;
  };
  const Outcome outcome = make({"-q", "-o", "gone.png"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_EQ(outcome.err, "");  // the reader has gone: nothing to say
}

TEST_F(ProgramWithModel, SignalsDropThePictureUnderWay) {
  for (const auto& [signal, code] : {std::pair(SIGINT, 130), {SIGTERM, 143}}) {
    Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "500", "-W", "128", "-H", "128", "-o", "x.png"},
                    top_ / "logs", setup_);
    ASSERT_TRUE(process.wait_for_stderr("loaded"));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    process.signal(signal);
    const Outcome outcome = process.wait();
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(files().empty());
  }
}

TEST_F(ProgramWithModel, SignalsKeepFinishedPictures) {
  Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "5", "-b", "5000", "-o", "{index}.png"},
                  top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder_ / "1.png"); }));
  process.signal(SIGINT);
  const Outcome outcome = process.wait();
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, " of 5000 pictures are finished")) << outcome.err;
  const std::set<std::string> made = files();
  EXPECT_EQ(static_cast<std::size_t>(std::count(outcome.out.begin(), outcome.out.end(), '\n')), made.size());
  for (const std::string& file : made) {
    EXPECT_NE(png_size(contents(folder_ / file)), std::pair(0, 0)) << file;
    EXPECT_TRUE(contains("\n" + outcome.out, "\n" + file + "\n")) << file;
  }
}

TEST_F(ProgramWithModel, SignalEndsWhatDoesNotListen) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);  // nobody reads it: opening it blocks for ever
  Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "1", "-v", "-o", "pipe"}, top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_for_stderr("decoding took"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_code, 143);
  EXPECT_EQ(files(), std::set<std::string>{"pipe"});
}

TEST_F(ProgramWithModel, SecondSignalEndsAtOnce) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);  // nobody reads it: opening it blocks for ever
  Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "1", "-v", "-o", "pipe"}, top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_for_stderr("decoding took"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  process.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  process.signal(SIGTERM);  // another number, so that this one's is seen
  EXPECT_EQ(process.wait().exit_code, 143);
  EXPECT_EQ(files(), std::set<std::string>{"pipe"});
}

}  // namespace
}  // namespace sdgen::test
