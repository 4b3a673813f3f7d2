// --dry-run: says what a run would make, leaves nothing, and fails as the run would.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "program/program.h"

namespace sdgen::test {
namespace {

using nlohmann::json;

struct DryRun : ProgramWithModel {
  static std::vector<json> lines(const std::string& text) {
    std::vector<json> all;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) all.push_back(json::parse(line));
    return all;
  }
  std::set<std::string> files() const {
    std::set<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) found.insert(entry.path().string());
    return found;
  }
};

// What it says of a picture is what the picture's own line says.
TEST_F(DryRun, SaysOfEachPictureWhatTheRunRecords) {
  fs::create_directory(folder_ / "in");
  for (const char* name : {"in/a.png", "in/b.png"}) fs::copy_file(SDGEN_FIXTURES "/images/rgb16.png", folder_ / name);
  const Words words = {"-i", "in", "-b", "2", "--batch-size", "2", "-o", "out/", "--json"};
  const auto before = files();
  Words dry = words;
  dry.emplace_back("--dry-run");
  const Outcome planned = make(dry), made = make(words);
  EXPECT_EQ(planned.exit_code, 0) << planned.err;
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::vector<json> plans = lines(planned.out), pictures = lines(made.out);
  ASSERT_EQ(plans.size(), pictures.size() + 1) << planned.out;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    EXPECT_EQ(plans[i]["exists"], false);
    for (const auto& [key, value] : pictures[i].items()) {
      if (key == "hashes") {
        EXPECT_EQ(plans[i][key]["init_image"], value["init_image"]);
      } else if (key != "sha256" && key != "timings" && key != "device" && key != "machine") {
        EXPECT_EQ(plans[i][key], value) << key;
      }
    }
  }
  const json& all = plans.back()["summary"];
  EXPECT_EQ(all["pictures"], 4);
  EXPECT_EQ(all["batches"], 2);
  EXPECT_GT(all["network_calls"], 0);
  EXPECT_GT(all["operations"], 1e6);
  EXPECT_GT(all["seconds"], 0);
  EXPECT_GT(all["weights"]["denoising_networks"], 1000);
}

TEST_F(DryRun, LeavesNothing) {
  std::ofstream(folder_ / "jobs.txt") << "a fox\na cat\n";
  const auto before = files();
  const auto time = fs::last_write_time(folder_);
  for (const Words& words : {Words{"--prompts", "jobs.txt", "-o", "new/folder/"},
                             {"-p", "a", "-o", "x.png", "--preview-every", "1", "--profile", "trace.json"},
                             {"-p", "a", "-b", "2", "--grid", "auto", "--manifest", "m.jsonl", "-o", "{index}.png"},
                             {"-p", "a", "--sweep", "steps=1,2", "-o", "s/"}}) {
    Words all = {"-m", model(), "-s", "1", "--dry-run"};
    all.insert(all.end(), words.begin(), words.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.out, "network calls")) << outcome.out;
    EXPECT_EQ(files(), before);
    EXPECT_EQ(fs::last_write_time(folder_), time) << "the folder was written into";
  }
}

TEST_F(DryRun, FailsAsTheRunWould) {
  std::ofstream(folder_ / "kept.png") << "x";
  std::ofstream(folder_ / "bad.txt") << "a fox\na cat --steps 0\n";
  std::ofstream(folder_ / "no.safetensors") << "x";
  for (const auto& [words, code] : {std::pair{Words{"--steps", "0", "-p", "a", "-o", "x.png"}, 2},
                                    {{"-p", "a", "-o", "kept.png", "--no-clobber"}, 4},
                                    {{"-p", "a", "-o", "kept.png/x.png"}, 4},
                                    {{"-p", "a", "-o", "x.png", "--manifest", "kept.png/m.jsonl"}, 4},
                                    {{"-p", "a", "-W", "13", "-o", "x.png"}, 2},
                                    {{"-p", "a", "-i", "none.png", "-o", "x.png"}, 3},
                                    {{"-p", "a", "--lora", "no.safetensors", "-o", "x.png"}, 3},
                                    {{"-p", "a", "--scheduler", "flow-euler", "-o", "x.png"}, 2},
                                    {{"--prompts", "bad.txt", "-o", "out/", "--no-manifest"}, 1}}) {
    Words real = {"-m", model(), "-s", "1"};
    real.insert(real.end(), words.begin(), words.end());
    Words dry = real;
    dry.emplace_back("--dry-run");
    const auto before = files();
    const Outcome planned = run(dry);
    EXPECT_EQ(files(), before);
    EXPECT_EQ(planned.exit_code, code) << planned.err;
    EXPECT_EQ(run(real).exit_code, code);
    fs::remove_all(folder_ / "out");
  }
}

TEST_F(DryRun, WhatIsThereIsSkippedAndCounted) {
  ASSERT_EQ(make({"-b", "2", "-o", "{seed}.png"}).exit_code, 0);
  const Outcome outcome = make({"-b", "3", "-o", "{seed}.png", "--skip-existing", "--dry-run", "--json"});
  const auto found = lines(outcome.out);
  ASSERT_EQ(found.size(), 4u) << outcome.out;
  EXPECT_EQ(std::ranges::count_if(found, [](const json& line) { return line.contains("skipped"); }), 2);
  EXPECT_EQ(found.back()["summary"]["pictures"], 1);
  EXPECT_EQ(found.back()["summary"]["skipped"], 2);
}

}  // namespace
}  // namespace sdgen::test
