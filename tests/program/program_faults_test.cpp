// What stops a run, and which files it leaves: bad sizes and models, disks, streams, signals (src/cli/README.md).
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "program/program.h"

namespace sdgen::test {
namespace {

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
  Outcome outcome = make({"-o", "{model}.png", "--no-clobber"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string made = outcome.out.substr(0, outcome.out.find('\n'));
  outcome = make({"-o", "{model}.png"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_TRUE(contains(outcome.err, "--overwrite replaces it, --skip-existing keeps it")) << outcome.err;
  fs::remove(folder_ / made);

  outcome = make({"-o", "x.png", "--no-clobber"});
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_TRUE(contains(outcome.err, "'x.png' exists; --no-clobber forbids")) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, "loaded")) << "the model was loaded in vain";
  EXPECT_EQ(contents(folder_ / "x.png"), "mine");

  outcome = make({"-o", "x.png", "--skip-existing"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(contents(folder_ / "x.png"), "mine");

  outcome = make({"-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(png_size(contents(folder_ / "x.png")), std::pair(0, 0));
  EXPECT_EQ(files(), std::set<std::string>{"x.png"});
}

TEST_F(ProgramWithModel, MissingFoldersAreMadeWhenThePictureIs) {
  EXPECT_EQ(make({"-m", "/no/model", "-o", "a/b/x.png"}).exit_code, 2);  // -m is given twice
  EXPECT_EQ(make({"--scheduler", "plms", "--steps", "2", "-o", "a/{seed}/x.png"}).exit_code, 2);
  EXPECT_TRUE(files().empty());
  EXPECT_EQ(make({"-o", "a/{seed}/x.png"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "a/7/x.png"));
  EXPECT_EQ(make({"-o", "new/", "-b", "2"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "new/00001-8.png"));
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
  std::vector<std::string> places = {"file/x.png", "/proc/x.png", "/proc/missing/x.png"};
  fs::create_directory(folder_ / "locked");
  chmod((folder_ / "locked").c_str(), 0555);
  if (geteuid() != 0) places.push_back("locked/x.png");  // root may write everywhere
  for (const std::string& place : places) {
    const Outcome outcome = make({"-o", place});
    EXPECT_EQ(outcome.exit_code, 4) << place << ": " << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "files cannot be written into this folder")) << outcome.err;
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
    Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "500", "-W", "128", "-H", "128", "-o", "x.png",
                     "--preview-every", "1"},
                    top_ / "logs", setup_);
    ASSERT_TRUE(process.wait_until([&] { return fs::exists(folder_ / "x.preview.png"); }));
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
  const FullPipe pipe(folder_ / "pipe");
  Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "1", "-W", "64", "-H", "64", "-o", "pipe"},
                  top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_until([&] { return pipe.is_full(); }));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_code, 143);
  EXPECT_EQ(files(), std::set<std::string>{"pipe"});
}

TEST_F(ProgramWithModel, SecondSignalEndsAtOnce) {
  const FullPipe pipe(folder_ / "pipe");
  Process process({"-m", model(), "-p", "x", "-s", "1", "--steps", "1", "-W", "64", "-H", "64", "-o", "pipe"},
                  top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_until([&] { return pipe.is_full(); }));
  process.signal(SIGINT);
  ASSERT_TRUE(process.wait_until([&] { return !process.has_pending(SIGINT); }));
  process.signal(SIGTERM);  // another number, so that this one's is seen
  EXPECT_EQ(process.wait().exit_code, 143);
  EXPECT_EQ(files(), std::set<std::string>{"pipe"});
}

}  // namespace
}  // namespace sdgen::test
