// Folders and patterns of input pictures: what they name, and the jobs that come of them.
#include "cli/picture_list.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "cli/fields.h"
#include "cli/jobs.h"
#include "image/png.h"
#include "io/file.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

struct PictureListTest : testing::Test {
  PictureListTest() {
    for (const char* folder : {"in", "masks", "out"}) fs::create_directory(scratch_ / folder);
  }
  std::string in(const std::string& name) const { return (scratch_ / name).string(); }
  // A picture of one colour, so that it can be told which one was read.
  std::string draw(const std::string& name, std::uint8_t grey = 9, std::span<const PictureText> texts = {}) {
    const auto png = encode_png({2, 1, std::vector<std::uint8_t>(6, grey)}, texts);
    return scratch_.write(name, {reinterpret_cast<const char*>(png.data()), png.size()}).string();
  }
  std::vector<std::string> listed(const std::string& value) {
    std::vector<std::string> files = PictureList("--init-image", in(value)).files();
    for (std::string& file : files) file = fs::path(file).lexically_relative(scratch_.folder()).string();
    return files;
  }
  std::string refusal(Fault fault, const std::function<void()>& act) { return message_of(fault, act); }
  // The jobs of a command line, with their pictures, until one is wrong.
  std::vector<Job> jobs(std::vector<std::string> words) {
    command_ = parse_command_line(words);
    Jobs all(command_, "m", option_rows());
    std::vector<Job> made;
    while (auto line = all.next()) {
      for (Job& job : *line) all.read(job);
      std::ranges::move(*line, std::back_inserter(made));
      for (const auto& failed : all.take_failed()) failed_.push_back(failed.error.what());
    }
    return made;
  }
  std::string names(const std::vector<Job>& jobs) {
    std::string all;
    for (const Job& job : jobs) all += job.file.filename().string() + ' ';
    return all;
  }

  Scratch scratch_;
  CommandLine command_;
  std::vector<std::string> failed_;
};

TEST_F(PictureListTest, AFolderHasItsPicturesInTheOrderOfTheirBytes) {
  for (const char* name :
       {"in/b.png", "in/B.JPG", "in/a.jpeg", "in/a-1.webp", "in/.hidden.png", "in/notes.txt", "in/png", "in/c.gif"})
    scratch_.write(name, "x");
  fs::create_directory(scratch_ / "in/folder.png");
  EXPECT_EQ(listed("in"), (std::vector<std::string>{"in/B.JPG", "in/a-1.webp", "in/a.jpeg", "in/b.png"}));
  EXPECT_EQ(listed("in/"), listed("in"));
  EXPECT_EQ(PictureList("-i", in("in")).passed_over(), 3u);
}

TEST_F(PictureListTest, APatternHasEveryFileOfItsNames) {
  for (const char* name : {"in/b.png", "in/a.png", "in/a.txt", "in/.a.png", "masks/a.png"}) scratch_.write(name, "x");
  fs::create_directory(scratch_ / "in/c.png");
  EXPECT_EQ(listed("in/*.png"), (std::vector<std::string>{"in/a.png", "in/b.png"}));
  EXPECT_EQ(listed("in/a*"), (std::vector<std::string>{"in/a.png", "in/a.txt"}));
  EXPECT_EQ(listed("*/[a]?png"), (std::vector<std::string>{"in/a.png", "masks/a.png"}));
}

TEST_F(PictureListTest, WhatIsAFileIsNoPattern) {
  EXPECT_TRUE(names_several(in("in")));
  EXPECT_TRUE(names_several(in("in/[1].png")));
  scratch_.write("in/[1].png", "x");
  EXPECT_FALSE(names_several(in("in/[1].png")));
  EXPECT_FALSE(names_several(in("in/none.png")));
}

TEST_F(PictureListTest, HomeStaysATilde) {
  draw("in/a.png");
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  ASSERT_EQ(setenv("HOME", scratch_.folder().c_str(), 1), 0);
  EXPECT_EQ(PictureList("-i", "~/in/*.png").files(), std::vector<std::string>{"~/in/a.png"});
  EXPECT_EQ(PictureList("-i", "~/in").files(), std::vector<std::string>{"~/in/a.png"});
  const auto made = jobs({"-p", "x", "-i", "~/in", "-s", "1", "-o", in("out/")});
  EXPECT_EQ(made.at(0).sources->pictures.at(0).path, "~/in/a.png");
  setenv("HOME", home.c_str(), 1);
}

TEST_F(PictureListTest, ListsWithoutPicturesAreRefusedByName) {
  EXPECT_CONTAINS(refusal(Fault::input, [&] { listed("in"); }), "the folder has no pictures");
  scratch_.write("in/notes.txt", "x");
  EXPECT_CONTAINS(refusal(Fault::input, [&] { listed("in"); }), "none of its 1 files");
  EXPECT_CONTAINS(refusal(Fault::input, [&] { listed("in/*.png"); }), "no file has a name of this pattern");
  EXPECT_CONTAINS(refusal(Fault::input, [&] { listed("no/*.png"); }), "--init-image");
}

TEST_F(PictureListTest, EachIsAPictureWithASeedOfItsOwn) {
  draw("in/b.png", 2), draw("in/a.png", 1), draw("in/c.png", 3);
  const auto made = jobs({"-p", "x", "-i", in("in/"), "--strength", "0.5", "-s", "7", "-o", in("out/")});
  EXPECT_EQ(names(made), "a-7.png b-8.png c-9.png ");
  for (std::size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(made[i].request.init_image->rgb[0], i + 1);
    EXPECT_EQ(values_of(made[i].sources->given, "--init-image"), std::vector{in(concat("in/", "abc"[i], ".png"))});
    EXPECT_EQ(made[i].where, in(concat("in/", "abc"[i], ".png")));
  }
  const auto twice = jobs({"-p", "x", "-i", in("in/[ab].png"), "-b", "2", "-s", "7", "-o", in("out/")});
  EXPECT_EQ(names(twice), "00000-a-7.png 00001-a-8.png 00002-b-9.png 00003-b-10.png ");
  const auto swept = jobs(
      {"-p", "x", "-i", in("in/[ab].png"), "--sweep", "strength=0.2,0.8", "-s", "7", "-o", in("out/{index}-{input}")});
  EXPECT_EQ(names(swept), "0-a 1-a 2-b 3-b ");
  EXPECT_EQ(swept[1].request.strength, 0.8);
  EXPECT_EQ(swept[2].request.seed, 8u);
}

TEST_F(PictureListTest, ShardsTogetherAreTheWhole) {
  for (const char* name : {"in/a.png", "in/b.png", "in/c.png", "in/d.png", "in/e.png"}) draw(name);
  std::string together;
  for (const char* shard : {"0/2", "1/2"})
    together += names(jobs({"-p", "x", "-i", in("in"), "-s", "7", "-o", in("out/"), "--shard", shard}));
  EXPECT_EQ(together, "a-7.png c-9.png e-11.png b-8.png d-10.png ");
  draw("out/b-8.png");
  EXPECT_EQ(names(jobs({"-p", "x", "-i", in("in"), "-s", "7", "-o", in("out/"), "--skip-existing"})),
            "a-7.png c-9.png d-10.png e-11.png ");
}

TEST_F(PictureListTest, LinesOfABatchMayNameThem) {
  draw("in/a.png"), draw("in/b.png");
  const std::string lines =
      scratch_
          .write("jobs.txt", concat("x --init-image '", in("in/*.png"), "'\ny\nz --init-image ", in("in/a.png"), "\n"))
          .string();
  EXPECT_EQ(names(jobs({"--prompts", lines, "-s", "7", "-o", in("out/{index}-{seed}.png")})),
            "0-7.png 1-8.png 2-9.png 3-10.png ");
  const auto error = refusal(Fault::usage, [&] {
    jobs({"--prompts", lines, "-s", "7", "-o", in("out/{index}-{input}.png")});
  });
  EXPECT_CONTAINS(error, "jobs.txt:2: --output: {input}");
}

TEST_F(PictureListTest, MasksAndControlPicturesArePairedByName) {
  draw("in/a.png", 1), draw("in/b.png", 2);
  draw("masks/b.png", 255), draw("masks/a.jpg", 255), draw("masks/other.png");
  const std::vector<std::string> words = {"-p",        "x",  "-i", in("in"), "--mask",
                                          in("masks"), "-s", "1",  "-o",     in("out/")};
  const auto made = jobs(words);
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(values_of(made[0].sources->given, "--mask"), std::vector{in("masks/a.jpg")});
  EXPECT_EQ(values_of(made[1].sources->given, "--mask"), std::vector{in("masks/b.png")});
  draw("masks/a.png", 255);
  EXPECT_EQ(values_of(jobs(words)[0].sources->given, "--mask"), std::vector{in("masks/a.png")}) << "of the very name";
  draw("masks/b.jpg"), fs::remove(in("masks/b.png"));
  draw("masks/b.jpeg");
  EXPECT_CONTAINS(refusal(Fault::input, [&] { jobs(words); }), "could be for");
  fs::remove(in("masks/b.jpg")), fs::remove(in("masks/b.jpeg"));
  EXPECT_CONTAINS(refusal(Fault::input, [&] { jobs(words); }), "there is none for " + in("in/b.png"));
}

TEST_F(PictureListTest, TheFirstOptionThatNamesSeveralLeads) {
  draw("one.png"), draw("masks/a.png", 255), draw("masks/b.png", 255);
  EXPECT_EQ(
      names(jobs({"-p", "x", "-i", in("one.png"), "--mask", in("masks"), "-s", "1", "-o", in("out/{input}.png")})),
      "a.png b.png ");
  EXPECT_EQ(names(jobs({"-p", "x", "-i", in("one.png"), "-b", "2", "-s", "1", "-o", in("out/{input}-{index}.png")})),
            "one-0.png one-1.png ");
}

TEST_F(PictureListTest, EqualNamesAreFoundBeforeAnythingIsDrawn) {
  draw("in/a.png"), draw("in/a.jpg");
  const auto clash = refusal(Fault::usage, [&] {
    jobs({"-p", "x", "-i", in("in"), "-s", "1", "-o", in("out/{input}.png")});
  });
  EXPECT_CONTAINS(clash, "two pictures would be named");
  EXPECT_CONTAINS(clash, "in/a.jpg and ");
  draw("in/A.png"), fs::remove(in("in/a.jpg"));
  EXPECT_EQ(names(jobs({"-p", "x", "-i", in("in"), "-s", "1", "-o", in("out/{input}.png")})), "A.png a.png ");
}

// A later run, or another shard, would take what was drawn for a picture to draw from.
TEST_F(PictureListTest, NothingIsDrawnIntoTheFolderThatIsRead) {
  draw("in/a.png");
  for (const auto& [input, output] :
       {std::pair{"in", "in/{input}-{seed}.png"}, {"in", "in/"}, {"in/*.png", "in/x{seed}.png"}})
    EXPECT_CONTAINS(refusal(Fault::usage,
                            [&, &from = input, &to = output] {
                              jobs({"-p", "x", "-i", in(from), "-s", "1", "-o", in(to)});
                            }),
                    "would be among the pictures that are read");
  EXPECT_EQ(names(jobs({"-p", "x", "-i", in("in/?.png"), "-s", "1", "-o", in("in/{input}-new.png")})), "a-new.png ");
}

TEST_F(PictureListTest, OneThatIsNoPictureFailsAloneBeforeTheOthersAreRead) {
  draw("in/a.png", 1), draw("in/c.png", 3);
  scratch_.write("in/b.png", "GIF89a");
  const auto made = jobs({"-p", "x", "-i", in("in"), "-s", "7", "-o", in("out/")});
  EXPECT_EQ(names(made), "a-7.png c-9.png ") << "the others' seeds are the same";
  ASSERT_EQ(failed_.size(), 1u);
  EXPECT_CONTAINS(failed_[0], "in/b.png: is a GIF");
  const auto one = refusal(Fault::input, [&] {
    jobs({"-p", "x", "-i", in("in/b.png"), "-s", "7", "-o", in("out/x.png")});
  });
  EXPECT_CONTAINS(one, "is a GIF");
}

TEST_F(PictureListTest, PicturesAreReadOneByOne) {
  draw("in/a.png"), draw("in/b.png");
  command_ = parse_command_line({"-p", "x", "-i", in("in"), "-s", "7", "-o", in("out/")});
  Jobs all(command_, "m", option_rows());
  auto made = *all.next();
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(all.picture_bytes(), 0u);
  EXPECT_EQ(made[0].request.init_image, nullptr);
  all.read(made[0]);
  EXPECT_EQ(all.picture_bytes(), 6u);
  fs::remove(in("in/b.png"));
  EXPECT_CONTAINS(refusal(Fault::input, [&] { all.read(made[1]); }), "in/b.png");
}

TEST_F(PictureListTest, NamesWithControlCharactersAreSpeltOut) {
  draw("in/new\nline.png");
  const auto made = jobs({"-p", "x", "-i", in("in"), "-s", "7", "-o", in("out/")});
  EXPECT_EQ(names(made), "new_line-7.png ");
  EXPECT_EQ(made[0].where.find('\n'), std::string::npos);
}

TEST_F(PictureListTest, ASweepsValueIsOnePicture) {
  draw("in/a.png"), draw("in/b.png");
  const auto sweep = [&](const std::string& values) {
    return jobs({"-p", "x", "--sweep", "init_image=" + values, "-s", "7", "-o", in("out/")});
  };
  EXPECT_CONTAINS(refusal(Fault::usage, [&] { sweep(in("in")); }), "is one picture");
  EXPECT_EQ(sweep(in("in/a.png") + "," + in("in/b.png")).size(), 2u);
}

struct RecordsTest : PictureListTest {
  std::string record(const std::string& name, const std::string& json) {
    return draw(name, 9, std::vector<PictureText>{{kRecordKeyword, json}});
  }
};

TEST_F(RecordsTest, EachPictureSaysHowItIsMade) {
  record("in/a.png", R"({"sdgen":"1","prompt":"a fox","seed":5,"steps":3})");
  record("in/b.png", R"({"sdgen":"1","prompt":"a cat","seed":9})");
  const auto made = jobs({"--from-image", in("in"), "--guidance-scale", "2", "-o", in("out/{input}.png")});
  ASSERT_EQ(names(made), "a.png b.png ");
  EXPECT_EQ(made[0].request.prompt, "a fox");
  EXPECT_EQ(made[0].request.steps, 3);
  EXPECT_EQ(made[1].request.prompt, "a cat");
  EXPECT_FALSE(made[1].request.steps.has_value());
  for (const Job& job : made) EXPECT_EQ(job.request.guidance_scale, 2);
  EXPECT_EQ(names(jobs({"--from-image", in("in"), "-o", in("out/")})), "a-5.png b-9.png ");
  EXPECT_EQ(names(jobs({"--from-image", in("in"), "-s", "1", "-b", "2", "-o", in("out/{seed}-{input}")})),
            "1-a 2-a 3-b 4-b ");
}

TEST_F(RecordsTest, OneWithoutARecordFailsAlone) {
  record("in/a.png", R"({"sdgen":"1","prompt":"a fox","seed":5})");
  draw("in/b.png");
  record("in/c.png", R"({"sdgen":"1","prompt":"a cat","seed":9})");
  command_ = parse_command_line({"--from-image", in("in"), "-o", in("out/")});
  Jobs all(command_, "m", option_rows());
  EXPECT_EQ(all.next()->size(), 1u);
  EXPECT_CONTAINS(refusal(Fault::input, [&] { all.next(); }), "b.png: does not say how it was made");
  EXPECT_EQ(all.next()->front().request.prompt, "a cat");
  EXPECT_FALSE(all.next().has_value());
}

TEST_F(RecordsTest, ARunLoadsOneModel) {
  record("in/a.png", R"({"sdgen":"1","prompt":"a fox","seed":5,"batch_size":2})");
  record("in/b.png", R"({"sdgen":"1","prompt":"a cat","seed":9,"batch_size":4})");
  EXPECT_CONTAINS(refusal(Fault::input,
                          [&] {
                            jobs({"--from-image", in("in"), "-o", in("out/")});
                          }),
                  "were not made with the same --batch-size");
  jobs({"--from-image", in("in"), "--batch-size", "1", "-o", in("out/")});
  EXPECT_EQ(command_.options.load.batch_size, 1);
  record("in/b.png", R"({"sdgen":"1","prompt":"a cat","seed":9,"batch_size":2})");
  jobs({"--from-image", in("in"), "-o", in("out/")});
  EXPECT_EQ(command_.options.load.batch_size, 2);
}

TEST_F(RecordsTest, AStrangersRecordNamesNoFolders) {
  draw("masks/x.png");
  for (const char* input : {"masks", "masks/*.png"}) {
    const std::string picture =
        record("in/a.png", concat(R"({"sdgen":"1","prompt":"a","seed":5,"init_image":")", in(input), "\"}"));
    EXPECT_CONTAINS(refusal(Fault::input,
                            [&] {
                              jobs({"--from-image", picture, "-o", in("out/x.png")});
                            }),
                    "which is no picture");
  }
}

TEST_F(RecordsTest, ListsAndRecordsAreNotBothTheSource) {
  record("in/a.png", R"({"sdgen":"1","prompt":"a fox","seed":5})");
  const std::string lines = scratch_.write("jobs.txt", "x\n").string();
  EXPECT_CONTAINS(refusal(Fault::usage,
                          [&] {
                            jobs({"--from-image", in("in"), "--prompts", lines});
                          }),
                  "both say what is drawn");
}

}  // namespace
}  // namespace sdgen::cli
