// One pipeline, many threads: each plans and draws in a session of its own, and its pictures are those that it would
// have made alone. The thread sanitizer looks at the same (scripts/test --all).
#include <gtest/gtest.h>

#include <thread>

#include "core/drawn.h"
#include "core/tiny_models.h"

namespace sdgen {
namespace {

std::shared_ptr<const Image> slope(int width, int height) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i) image.rgb.insert(image.rgb.end(), 3, static_cast<std::uint8_t>(i * 7));
  return std::make_shared<const Image>(std::move(image));
}

// What a thread draws: schedulers with and without noise of their own, weighted prompts, a repainted picture.
std::vector<Request> requests_of(std::uint64_t thread) {
  std::vector<Request> requests;
  for (const char* scheduler : {"euler-a", "dpm++2m", "heun", "lcm"}) {
    Request r;
    r.prompt = thread % 2 ? "a (red:1.2) fox AND snow" : "a blue bird";
    if (thread % 2) r.prompt_syntax = PromptSyntax::weighted;
    r.scheduler = scheduler;
    r.seed = 10 * thread + requests.size();
    r.steps = 3;
    r.width = 64, r.height = 32;
    requests.push_back(r);
  }
  requests[1].init_image = slope(40, 24);
  requests[2].init_image = slope(64, 32), requests[2].mask = slope(64, 32);
  return requests;
}

struct Previews : Observer {
  bool wants_preview(int, int) override { return true; }
  void preview(std::size_t, const std::vector<Image>& images) override { seen += images.size(); }
  std::size_t seen = 0;
};

void expect_the_same_from_threads(const LoadOptions& options, int width) {
  constexpr std::size_t threads = 2;
  Observer nobody;
  const Pipeline pipeline = Pipeline::load(test::kTinySd, options, nobody);
  std::vector<std::vector<Request>> requests;
  std::vector<std::vector<Image>> alone, together(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    requests.push_back(requests_of(i));
    requests[i][0].width = width;
    alone.push_back(test::drawn(pipeline, requests[i], nobody));
  }
  const auto work = [&](std::size_t i) {
    Previews previews;
    Pipeline::Session session = pipeline.session();
    for (int round = 0; round < 2; ++round) {  // the second one finds the text encoders where the first left them
      together[i].assign(requests[i].size(), {});
      const auto keep = [&](std::size_t at, Image image) { together[i][at] = std::move(image); };
      session.draw(test::planned(pipeline, requests[i]), keep, previews);
    }
    EXPECT_GT(previews.seen, 0u);
  };
  std::vector<std::jthread> running;
  for (std::size_t i = 0; i < threads; ++i) running.emplace_back(work, i);
  running.clear();
  for (std::size_t i = 0; i < threads; ++i)
    for (std::size_t k = 0; k < requests[i].size(); ++k)
      EXPECT_TRUE(together[i][k].rgb == alone[i][k].rgb) << "thread " << i << ", picture " << k;
}

TEST(Threads, DrawAndPlanOnOnePipeline) {
  expect_the_same_from_threads({.device = "cpu", .precision = Precision::float32, .batch_size = 2}, 64);
}

// Tiles norm with the moments of a whole picture, which are the thread's own.
TEST(Threads, DecodeInTilesOnOnePipeline) {
  expect_the_same_from_threads({.device = "cpu", .precision = Precision::float32, .vae_tiling = true}, 608);
}

}  // namespace
}  // namespace sdgen
