// Lines of batch files as pictures: seeds, names, shards, what a line may say.
#include "cli/jobs.h"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <set>
#include <sstream>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "cli/fields.h"
#include "image/png.h"
#include "io/file.h"
#include "io/hash.h"

namespace sdgen::cli {
namespace {

struct JobsTest : testing::Test {
  // What comes of every line; of a line that fails, its message.
  struct Line {
    std::vector<Job> jobs;
    std::string error;
  };
  std::vector<Line> read(const std::string& text, std::vector<std::string> words) {
    const std::string file = scratch_.write("jobs.txt", text).string();
    for (const char* word : {"--prompts", file.c_str(), "-o", folder_.c_str()}) words.push_back(word);
    command_ = parse_command_line(words);
    rows_ = option_rows();
    Jobs jobs(command_, "m", rows_);
    std::vector<Line> lines;
    while (true) {
      try {
        auto line = jobs.next();
        if (!line) return lines;
        for (Job& job : *line) jobs.read(job);
        lines.push_back({*line, ""});
      } catch (const Error& error) {
        lines.push_back({{}, in_flags(error)});
      }
    }
  }
  Scratch scratch_;
  std::string folder_ = scratch_.folder().string() + "/{index}-{seed}.png";
  CommandLine command_;
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
  EXPECT_EQ(names(lines), "0-7.png 2-9.png 3-10.png ");  // "-b 2" is not an option after others: it may be text
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_CONTAINS(lines[1].error, "jobs.txt:2: '-b' comes after the options");
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

// AUTOMATIC1111's seed of a random picture; whole numbers as tables write them.
TEST_F(JobsTest, SeedsByChanceAndNumbersOfTables) {
  const auto lines =
      read("a --seed -1\nb --seed -1 --num-images 2\nc --seed 7.0 --steps 12.00\nd --seed 7.5\n", {"--seed", "-1"});
  ASSERT_EQ(lines.size(), 4u);
  const auto seed = [&](std::size_t line, std::size_t job) { return lines[line].jobs.at(job).request.seed.value(); };
  EXPECT_NE(seed(0, 0), seed(1, 0)) << "each line draws its own";
  EXPECT_LE(seed(0, 0), 0xFFFFFFFFu);
  EXPECT_EQ(seed(1, 1), seed(1, 0) + 1);
  EXPECT_EQ(seed(2, 0), 7u);
  EXPECT_EQ(lines[2].jobs[0].request.steps, 12);
  EXPECT_CONTAINS(lines[3].error, "--seed: '7.5' is not a whole number");
  EXPECT_CONTAINS(read("a --seed -1\n", {"--shard", "1/2"})[0].error, "needs a seed that all runs agree on");
}

TEST_F(JobsTest, AWrongLineChangesNobodyElse) {
  const std::string good = "a\nb\nc\n", bad = "a\nb --steps 0\nc\n";
  EXPECT_EQ(read(good, {"--seed", "1"})[2].jobs[0].file, read(bad, {"--seed", "1"})[2].jobs[0].file);
  for (const auto& [line, message] : std::initializer_list<std::pair<const char*, const char*>>{
           {"b --steps 0", "--steps: '0'"},
           {"b --stepz 3", "did you mean --steps?"},
           {"b --device cpu", "belongs to the whole run"},
           {"b --steps 3 --steps 4", "twice"},
           {"b --strength 0.5", "--init-image"},
           {"b --init-image /no/file.png", "/no/file.png"},
           {"b <lora:x:1>", "--lora-dir"},
           {"b <hypernet:x:1>", "hypernetworks"},
           {"b --negative-prompt <lora:x:1>", "belongs in the prompt"}}) {
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

TEST_F(JobsTest, AFileWithoutAByteIsNoPicture) {
  scratch_.write("1-8.png", "");  // a name that a killed process had reserved
  EXPECT_EQ(names(read("a\nb\n", {"--seed", "7", "--skip-existing"})), "0-7.png 1-8.png ");
}

TEST_F(JobsTest, WhatDoesNotGoTogetherIsRefused) {
  const auto refusal = [](std::vector<std::string> words) {
    return message_of(Fault::usage, [&] { check_combination(parse_command_line(words).options); });
  };
  EXPECT_CONTAINS(refusal({"--prompts", "x", "-p", "y"}), "leave out --prompt");
  EXPECT_CONTAINS(refusal({"-p", "x", "--fail-fast"}), "--prompts");
  EXPECT_CONTAINS(refusal({"-p", "x", "--shard", "0/2"}), "--seed");
  EXPECT_CONTAINS(refusal({"--prompts", "x", "-o", "-"}), "stdout takes one picture");
  EXPECT_CONTAINS(refusal({"--prompts", "x", "-o", "a.png"}), "{index}");
  for (const char* shard : {"2/2", "1", "a/b", "-1/2", "1/0"})
    EXPECT_CONTAINS(refusal({"--prompts", "x", "--shard", shard}), "--shard");
}

// The steps and seeds of all pictures: "10:7 20:7 ".
std::string steps_and_seeds(const std::vector<JobsTest::Line>& lines) {
  std::string all;
  for (const auto& line : lines)
    for (const Job& job : line.jobs)
      all += std::to_string(job.request.steps.value_or(0)) + ':' + std::to_string(*job.request.seed) + ' ';
  return all;
}

TEST_F(JobsTest, ASweepMakesEveryCombinationOfEveryPicture) {
  const std::vector<std::string> sweep{"--seed", "7", "--sweep", " steps = 10,20 ; guidance-scale=3,7"};
  const auto lines = read("one\nwrong --stesp 3\ntwo --num-images 2 --steps 99\n", sweep);
  EXPECT_EQ(steps_and_seeds(lines), "10:7 20:7 10:7 20:7 10:9 20:9 10:9 20:9 10:10 20:10 10:10 20:10 ");
  EXPECT_EQ(names(lines).substr(0, 24), "0-7.png 1-7.png 2-7.png ");
  EXPECT_EQ(lines[2].jobs[0].file.filename(), "8-9.png");  // the line that is wrong counts, too
  EXPECT_EQ(lines[0].jobs[1].request.guidance_scale, 3);
  EXPECT_EQ(lines[0].jobs[2].request.guidance_scale, 7);
}

TEST_F(JobsTest, ShardsOfASweepAreThoseOfTheWhole) {
  std::string whole = steps_and_seeds(read("one\ntwo\n", {"--seed", "7", "--sweep", "steps=1,2,3"}));
  EXPECT_EQ(whole, "1:7 2:7 3:7 1:8 2:8 3:8 ");
  EXPECT_EQ(steps_and_seeds(read("one\ntwo\n", {"--seed", "7", "--sweep", "steps=1,2,3", "--shard", "1/4"})),
            "2:7 3:8 ");
}

TEST_F(JobsTest, SeedsAndSwitchesAndPromptsCanBeSwept) {
  EXPECT_EQ(steps_and_seeds(read("one --num-images 2\n", {"--sweep", "seed=5,9"})), "0:5 0:9 0:6 0:10 ");
  const auto lines =
      read("one\n", {"--seed", "1", "--sweep", "rescale_betas_zero_snr=false,true; prompt='a, \"b\"',it's;"});
  ASSERT_EQ(lines[0].jobs.size(), 4u) << lines[0].error;
  EXPECT_EQ(lines[0].jobs[0].request.prompt, "a, \"b\"");
  EXPECT_EQ(lines[0].jobs[2].request.prompt, "it's");
  EXPECT_FALSE(lines[0].jobs[0].request.rescale_betas_zero_snr.has_value());
  EXPECT_EQ(lines[0].jobs[1].request.rescale_betas_zero_snr, true);
}

TEST_F(JobsTest, SweepsThatCannotBeReadAreNamed) {
  const auto error = [this](const std::string& sweep, std::vector<std::string> words = {}) -> std::string {
    words.insert(words.end(), {"--sweep", sweep});
    try {
      const auto lines = read("one --seed 1\n", words);
      return lines.empty() ? "" : lines[0].error;
    } catch (const Error& error) {
      return in_flags(error);
    }
  };
  EXPECT_CONTAINS(error("stesp=1"), "unknown option --stesp; did you mean --steps?");
  EXPECT_CONTAINS(error("steps"), "--sweep: 'steps': expected NAME=VALUE,VALUE, like steps=10,20");
  EXPECT_CONTAINS(error(" ; "), "expected NAME=VALUE,VALUE");
  EXPECT_CONTAINS(error("steps=1,x"), "--steps: 'x' is not a whole number");
  EXPECT_CONTAINS(error("steps=1,"), "--steps: '' is not a whole number");
  EXPECT_CONTAINS(error("steps=1;steps=2"), "--steps is swept twice");
  EXPECT_CONTAINS(error("device=cpu"), "--device belongs to the whole run");
  EXPECT_CONTAINS(error("num_images=2"), "--num-images belongs to the whole run");
  EXPECT_CONTAINS(error("guess_mode=yes"), "its values are true and false");
  EXPECT_CONTAINS(error("prompt='a"), "a quotation begins with ' and does not end");
  EXPECT_CONTAINS(error("steps=1", {"--steps", "2"}), "--steps is swept: leave it out");
  EXPECT_CONTAINS(error("mask=a.png,b.png"), "jobs.txt:1: --mask needs --init-image");
  std::string many = "steps=1";
  for (int i = 2; i <= 101; ++i) many += "," + std::to_string(i);
  std::string seeds = many;
  seeds.replace(0, 5, "seed");
  EXPECT_CONTAINS(error(many + ";" + seeds), "has more than 10000 combinations");
}

TEST_F(JobsTest, PromptsChooseByTheirSeeds) {
  scratch_.write("animals.txt", "fox\nwolf\nbear\nlynx\n");
  const std::vector<std::string> words{"--seed", "7", "--wildcards", scratch_.folder().string()};
  const std::string text = "a {red|green} __animals__ --num-images 4 --negative-prompt {a|b|c|d|e|f}\n";
  const auto lines = read(text, words);
  std::set<std::string> prompts, negatives;
  ASSERT_EQ(lines[0].jobs.size(), 4u) << lines[0].error;
  for (const Job& job : lines[0].jobs)
    prompts.insert(*job.request.prompt), negatives.insert(*job.request.negative_prompt);
  EXPECT_GT(prompts.size(), 2u);
  EXPECT_GT(negatives.size(), 1u);
  auto sharded = words;
  sharded.insert(sharded.end(), {"--shard", "2/3"});
  EXPECT_EQ(read(text, sharded)[0].jobs[0].request.prompt, lines[0].jobs[2].request.prompt);
  EXPECT_CONTAINS(read("a __animal__\n", words)[0].error, "jobs.txt:1: __animal__");
  EXPECT_EQ(read("a {b|c}\n", {})[0].jobs[0].request.prompt, "a {b|c}");
}

// LoRAs are a line's own: those of its tags, after those that are said of it, or of all lines.
TEST_F(JobsTest, LinesHaveTheirOwnLoras) {
  std::filesystem::create_directory(scratch_.folder() / "loras");
  const std::string x = scratch_.write("loras/x.safetensors", "").string(),
                    y = scratch_.write("loras/y.safetensors", "").string();
  const std::vector<std::string> words{"--seed", "7", "--lora-dir", (scratch_.folder() / "loras").string()};
  const std::string text =
      "a <lora:x:0.5>\nb\nc <lora:y><lora:x:0.5:1>\nd <lora:z>\ne --lora own:2\nf <lora:y:0.5> <lora:y:0.25>\n";
  const auto lines = read(text, words);
  ASSERT_EQ(lines.size(), 6u);
  const auto loras = [&](std::size_t line) { return lines[line].jobs.at(0).request.loras; };
  EXPECT_EQ(loras(0), (std::vector<Lora>{{x, 0.5, 0.5}}));
  EXPECT_EQ(lines[0].jobs[0].request.prompt, "a ");
  EXPECT_EQ(loras(1), std::vector<Lora>());
  EXPECT_EQ(loras(2), (std::vector<Lora>{{y}, {x, 1, 0.5}}));
  EXPECT_CONTAINS(lines[3].error, "jobs.txt:4: --prompt: <lora:z>: none of the 2 .safetensors files in ");
  EXPECT_EQ(loras(4), (std::vector<Lora>{{"own", 2, 2}}));
  EXPECT_EQ(loras(5), (std::vector<Lora>{{y, 0.5, 0.5}, {y, 0.25, 0.25}}));
  EXPECT_EQ(names(lines), "0-7.png 1-8.png 2-9.png 4-11.png 5-12.png ");

  auto more = words;
  more.insert(more.end(), {"--lora", "all:3"});
  const auto with_all = read(text, more);
  EXPECT_EQ(with_all[0].jobs[0].request.loras, (std::vector<Lora>{{"all", 3, 3}, {x, 0.5, 0.5}}));
  EXPECT_EQ(with_all[4].jobs[0].request.loras, (std::vector<Lora>{{"all", 3, 3}})) << "the command line comes first";

  auto choosing = words;
  choosing.insert(choosing.end(), {"--wildcards", scratch_.folder().string()});
  std::set<std::size_t> chosen;
  const auto chosen_by_seed = read("a {<lora:x:{0.5|1}>|<lora:y>|b} --num-images 20\n", choosing);
  for (const Job& job : chosen_by_seed[0].jobs)
    chosen.insert(job.request.loras.empty() ? 0 : job.request.loras[0].path == x ? 1 : 2);
  EXPECT_EQ(chosen.size(), 3u) << "wildcards choose before tags are read";
  auto swept = words;
  swept.insert(swept.end(), {"--sweep", "lora=p:0.5,q;prompt=a <lora:x>,b"});
  const auto cells = read("c\n", swept)[0].jobs;
  ASSERT_EQ(cells.size(), 4u);
  EXPECT_EQ(cells[1].request.loras, (std::vector<Lora>{{"q"}, {x}}));
  EXPECT_EQ(cells[2].request.loras, (std::vector<Lora>{{"p", 0.5, 0.5}}));
}

// Whatever is wrong with a line, the others keep their numbers, in every shard.
TEST_F(JobsTest, WrongLinesLeaveTheOthersAlone) {
  scratch_.write("c.txt", "red\n{bad\n");
  const std::string text =
      "a fox\na dog --num-images 3 --init-image missing.png\na __c__ cat --num-images 6\na cow --steps 0 --num-images "
      "9\n"
      "a hen\na pig --num-images 2\n";
  const std::vector<std::string> words{"--seed", "7", "--wildcards", scratch_.folder().string()};
  const std::string whole = names(read(text, words));
  EXPECT_EQ(whole, "0-7.png 11-18.png 12-19.png 13-20.png ");  // the line that cannot be read counts as one
  for (const int shards : {2, 3, 4, 7}) {
    std::set<std::string> made;
    for (int shard = 0; shard < shards; ++shard) {
      auto sharded = words;
      sharded.insert(sharded.end(), {"--shard", std::to_string(shard) + "/" + std::to_string(shards)});
      std::istringstream files(names(read(text, sharded)));
      for (std::string file; files >> file;) EXPECT_TRUE(made.insert(file).second) << file;
    }
    EXPECT_EQ(made, (std::set<std::string>{"0-7.png", "11-18.png", "12-19.png", "13-20.png"})) << shards;
  }
}

TEST_F(JobsTest, NamesAreToldApartOverAllShards) {
  folder_ = scratch_.folder().string() + "/{seed}.png";
  const std::string text = "a fox --seed 5\na dog --seed 5\n";
  for (const char* shard : {"0/2", "1/2"})
    EXPECT_CONTAINS(read(text, {"--shard", shard})[1].error, "jobs.txt:2: --output: two pictures would be named")
        << shard;
}

TEST_F(JobsTest, ASweepReplacesWhatIsSaidElsewhere) {
  const std::string config =
      scratch_.write("c.toml", "scheduler = 'Euler Karras'\nrescale_betas_zero_snr = true\n").string();
  const auto lines = read(
      "one\n", {"--seed", "1", "--config", config, "--sweep", "rescale_betas_zero_snr=true,false; scheduler=ddim"});
  ASSERT_EQ(lines[0].jobs.size(), 2u) << lines[0].error;
  EXPECT_EQ(lines[0].jobs[0].request.rescale_betas_zero_snr, true);
  EXPECT_FALSE(lines[0].jobs[1].request.rescale_betas_zero_snr.has_value());
  EXPECT_FALSE(lines[0].jobs[0].request.sigma_schedule.has_value());
}

// Previews, sheets and what is skipped are marked by it, and may come before the pictures are read.
TEST_F(JobsTest, BeforeItIsReadAJobSaysWhetherItIsMadeOfPictures) {
  const auto png = encode_png({2, 1, {1, 2, 3, 4, 5, 6}}, {});
  const std::string file = scratch_.write("in.png", {reinterpret_cast<const char*>(png.data()), png.size()}).string();
  const auto job = [&](const std::string& option) {
    command_ = parse_command_line({"-p", "x", option, file, "-s", "1", "-o", folder_});
    rows_ = option_rows();
    return Jobs(command_, "m", rows_).next()->at(0);
  };
  for (const auto& [option, is_made_of_it] : {std::pair{"--init-image", true}, {"--expect", false}}) {
    Job made = job(option);
    EXPECT_EQ(made.of_pictures(), is_made_of_it) << option;
    EXPECT_EQ(made.expected.image, nullptr);
    Jobs(command_, "m", rows_).read(made);
    EXPECT_EQ(made.of_pictures(), is_made_of_it) << option;
    EXPECT_EQ(made.expected.image != nullptr, !is_made_of_it);
    EXPECT_EQ(made.expected.name, is_made_of_it ? "" : file);
  }
  scratch_.write("in.png", "no picture");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { job("--expect"); }), "in.png: is no picture that is read");
}

TEST_F(JobsTest, PicturesAreKeptUntilForgotten) {
  const Image grey{8, 4, std::vector<std::uint8_t>(8 * 4 * 3, 127)};
  const auto png = encode_png(grey, {});
  const std::string file = scratch_.write("in.png", {reinterpret_cast<const char*>(png.data()), png.size()}).string();
  const std::string lines = scratch_.write("jobs.txt", "a\nb\nc\n").string();
  command_ = parse_command_line({"--prompts", lines, "-i", file, "-s", "1", "-o", folder_});
  rows_ = option_rows();
  Jobs jobs(command_, "m", rows_);
  const auto next = [&jobs] {
    auto line = jobs.next();
    for (Job& job : *line) jobs.read(job);
    return line;
  };
  const auto first = next(), second = next();
  EXPECT_EQ(first->front().request.init_image, second->front().request.init_image);
  EXPECT_EQ(first->front().sources, second->front().sources);
  EXPECT_EQ(jobs.picture_bytes(), grey.rgb.size());
  jobs.forget_pictures();
  EXPECT_EQ(jobs.picture_bytes(), 0u);
  const auto third = next();
  EXPECT_NE(third->front().request.init_image, first->front().request.init_image);
  EXPECT_EQ(third->front().request.init_image->rgb, grey.rgb);
}

// Replaced between two looks at it, a file's hash would be of another picture than the one that is drawn from. Lines
// that name the same one read it once.
TEST_F(JobsTest, APictureIsReadOnce) {
  const std::vector<std::byte> png = encode_png({2, 1, {1, 2, 3, 4, 5, 6}}, {});
  const std::string bytes(reinterpret_cast<const char*>(png.data()), png.size());
  const std::string file = scratch_.write("in.png", bytes).string();
  const Descriptor watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(watch.get(), file.c_str(), IN_OPEN | IN_CLOSE),
            0);  // a row of equal events would be one
  const auto lines = read("one\ntwo\n", {"--init-image", file, "--mask", file});
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].error + lines[1].error, "");
  EXPECT_EQ(lines[1].jobs.at(0).sources->pictures[0].sha256, sha256_of(bytes));
  std::vector<char> events(1 << 16);
  // Opened to look at its first bytes, to read the picture, and to read the mask.
  EXPECT_EQ(::read(watch.get(), events.data(), events.size()), ssize_t(3 * 2 * sizeof(inotify_event)));
}

}  // namespace
}  // namespace sdgen::cli
