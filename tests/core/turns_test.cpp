// Text encoders and denoising networks that are not in memory at a time, and how much memory there is.
#include <gtest/gtest.h>

#include "core/drawn.h"
#include "core/tiny_models.h"
#include "device/free_memory.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

// Writes down which stages end, by their first letters.
struct Order : Observer {
  void stage(Stage stage, std::size_t first, double) override { ended += concat(stage_name(stage)[0], first, ' '); }
  std::string ended;
};

class TextFirst : public testing::Test, protected test::TinyModels {
 protected:
  TextFirst() {
    at::manual_seed(1);
    for (int i = 0; i < 3; ++i) {
      Request r;
      r.prompt = concat("a fox ", i), r.seed = std::uint64_t(1 + i), r.steps = 2, r.width = r.height = 32;
      requests_.push_back(std::move(r));
    }
  }
  Pipeline pipeline(bool offload) {
    Observer nobody;
    return Pipeline::load(model_, {.device = "cpu", .precision = Precision::float32, .offload = offload}, nobody);
  }

  fs::path model_ = sd35();
  std::vector<Request> requests_;
};

TEST_F(TextFirst, IsReadBeforeTheNetworkIs) {
  const Pipeline beside = pipeline(false), first = pipeline(true);
  Order usual, turns;
  const std::vector<Image> expected = test::drawn(beside, requests_, usual),
                           images = test::drawn(first, requests_, turns);
  EXPECT_EQ(usual.ended, "l0 t0 d0 d0 t1 d1 d1 t2 d2 d2 ");
  EXPECT_EQ(turns.ended, "t0 t1 t2 l0 d0 d0 d1 d1 d2 d2 ");
  for (std::size_t i = 0; i < images.size(); ++i) EXPECT_EQ(images[i].rgb, expected[i].rgb) << i;
}

// Weighted prompts of different lengths ask the encoders what may share a batch, before anything else.
TEST_F(TextFirst, IsSoForWeightedPromptsInBatches) {
  for (Request& r : requests_) r.prompt_syntax = PromptSyntax::weighted;
  requests_[1].prompt = "a (fox:1.2) BREAK a moon";
  Order turns;
  const Pipeline first = pipeline(true);
  const std::vector<Image> images = test::drawn(first, requests_, turns);
  EXPECT_EQ(turns.ended, "t0 t1 t2 l0 d0 d0 d1 d1 d2 d2 ");
}

// A session's next pictures have their turns, too.
TEST_F(TextFirst, InASessionTheNetworkGoesAgain) {
  const Pipeline first = pipeline(true);
  Pipeline::Session session = first.session();
  Order turns;
  for (const Request& r : requests_) {
    const std::vector<Plan> plans{first.plan(r)};
    session.draw(
        plans, [](std::size_t, const Image&) {}, turns);
  }
  EXPECT_EQ(turns.ended, "t0 l0 d0 d0 t0 l0 d0 d0 t0 l0 d0 d0 ");
}

class FreeMemory : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    root_.write(name, text);
  }
  std::optional<std::uint64_t> free() const { return free_memory(at::kCPU, root_.folder()); }
  const Scratch root_;
};

TEST_F(FreeMemory, IsWhatTheSystemHas) {
  EXPECT_EQ(free(), std::nullopt) << "nobody says";
  write("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    5000 kB\n");
  EXPECT_EQ(free(), 5000u * 1024);
}

TEST_F(FreeMemory, IsWhatAGroupLeaves) {
  write("proc/meminfo", "MemAvailable: 5000 kB\n");
  write("proc/self/cgroup", "1:name=systemd:/x\n0::/jobs/7\n");
  write("sys/fs/cgroup/jobs/7/memory.max", "max\n");
  write("sys/fs/cgroup/jobs/7/memory.current", "1000\n");
  EXPECT_EQ(free(), 5000u * 1024) << "without a limit of its own";
  write("sys/fs/cgroup/jobs/memory.max", "3000000\n");
  write("sys/fs/cgroup/jobs/memory.current", "2000000\n");
  EXPECT_EQ(free(), 1'000'000u) << "the limit of the group above";
  write("sys/fs/cgroup/jobs/memory.stat", "anon 5\ninactive_file 500000\nactive_file 3\n");
  EXPECT_EQ(free(), 1'500'000u) << "files that are cached make room";
  write("sys/fs/cgroup/jobs/7/memory.max", "4000\n");
  EXPECT_EQ(free(), 3000u);
  write("sys/fs/cgroup/jobs/7/memory.current", "5000\n");
  EXPECT_EQ(free(), 0u);
}

TEST_F(FreeMemory, KnowsGroupsOfTheOlderVersion) {
  write("proc/meminfo", "MemAvailable: 5000 kB\n");
  write("proc/self/cgroup", "4:cpu,memory:/docker/abc\n2:cpuset:/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "900000\n");  // the group itself, in a container
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "200000\n");
  write("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 50000\n");
  EXPECT_EQ(free(), 750'000u);
}

}  // namespace
}  // namespace sdgen
