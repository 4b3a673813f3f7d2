// Equal requests give equal files: src/README.md, "The same bytes".
#include <sstream>

#include "program/program.h"

namespace sdgen::test {
namespace {

class Determinism : public ProgramWithModel {
 protected:
  // A line for every scheduler, all with what they draw on the way.
  void SetUp() override {
    ProgramWithModel::SetUp();
    std::istringstream list(run({"--list-schedulers"}).out);
    std::ofstream jobs(folder_ / "jobs.txt");
    for (std::string line; std::getline(list, line);) {
      const std::string name = line.substr(0, line.find_first_of(" ,"));
      if (name.empty()) continue;
      const bool flow = name.starts_with("flow-");
      jobs << "a fox --steps 4 --scheduler " << name << (flow ? " --prediction-type flow_prediction\n" : "\n");
      ++schedulers_;
    }
  }

  // The pictures of a run into `folder`.
  std::map<std::string, std::string> pictures(const std::string& folder, const Words& more) {
    fs::create_directory(folder_ / folder);
    Words words = {"-m",
                   model(),
                   "--prompts",
                   "jobs.txt",
                   "-s",
                   "7",
                   "-b",
                   "2",
                   "--batch-size",
                   "2",
                   "--no-manifest",
                   "-o",
                   folder + "/{index}.png"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_ / folder))
      found[entry.path().filename().string()] = contents(entry.path());
    return found;
  }

  std::size_t schedulers_ = 0;
};

TEST_F(Determinism, EveryScheduler) {
  const auto first = pictures("first", {});
  ASSERT_GE(schedulers_, 18u);
  EXPECT_EQ(first.size(), 2 * schedulers_);
  EXPECT_TRUE(first == pictures("second", {})) << "another run";
  auto shards = pictures("shard-0", {"--shard", "0/3"});
  for (const char* shard : {"1", "2"})
    shards.merge(pictures(std::string("shard-") + shard, {"--shard", std::string(shard) + "/3"}));
  EXPECT_TRUE(first == shards) << "shards, whose last batch is short";
  fs::create_directory(folder_ / "resumed");
  for (const char* name : {"0.png", "5.png", "6.png"}) fs::copy(folder_ / "first" / name, folder_ / "resumed" / name);
  EXPECT_TRUE(first == pictures("resumed", {"--skip-existing"})) << "a run that was interrupted";
}

}  // namespace
}  // namespace sdgen::test
