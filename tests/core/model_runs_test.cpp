// Which steps a model runs, in which size, and what may share a batch.
#include <ATen/ops/arange.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>

#include "base/scratch.h"
#include "core/stand_ins.h"
#include "families/drawn_sizes.h"
#include "stages/batch.h"
#include "stages/drawn_size.h"
#include "stages/picture_request.h"
#include "stages/prompt_schedule.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::parts_of;
using test::request_of;

TEST(ModelRun, StrengthLeavesOutTheFirstSteps) {
  const Parts parts = parts_of("DDIMScheduler"), pairs = parts_of("HeunDiscreteScheduler");
  Request r = request_of(10);
  r.init_image = std::make_shared<const Image>();
  for (const auto& [strength, steps] : {std::pair{1.0, 10}, {0.99, 9}, {0.35, 3}, {0.1, 1}}) {
    r.strength = strength;
    const ModelRun run(parts, r, /*refining=*/false);
    EXPECT_EQ(run.begin, std::size_t(10 - steps)) << strength;
    EXPECT_EQ(run.end, 10u);
    EXPECT_EQ(ModelRun(pairs, r, /*refining=*/false).begin, std::size_t(2 * (10 - steps))) << strength;
  }
  r.strength = 0.05;
  try {
    const ModelRun run(parts, r, /*refining=*/false);
    FAIL() << "no step is left";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage);
    EXPECT_NE(std::string(error.what()).find("leaves none of 10 steps"), std::string::npos) << error.what();
  }
}

TEST(ModelRun, FlowsShiftWithThePicturesSize) {
  Parts parts = parts_of("FlowMatchEulerDiscreteScheduler");
  parts.scheduler =
      Config({{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"use_dynamic_shifting", true}}, "test");
  Request r = request_of(4);
  const auto second = [&] { return ModelRun(parts, r, /*refining=*/false).grid.steps[1].from.sigma; };
  const Scheduler scheduler = Scheduler::choose(parts.scheduler, {});
  EXPECT_EQ(second(), scheduler.grid({4, 8 * 4}).steps[1].from.sigma);
  r.width = 512, r.height = 1024;
  EXPECT_EQ(second(), scheduler.grid({4, 64 * 128}).steps[1].from.sigma);
}

TEST(ModelRun, TheRefinerTakesOverWhereTheFirstModelEnds) {
  const Parts parts = parts_of("DDIMScheduler");  // four steps: 750, 500, 250, 0
  Request r = request_of(4);
  for (const auto& [start, first] : {std::pair{0.2, 0}, {0.25, 1}, {0.3, 1}, {0.5, 2}, {0.76, 3}, {0.999, 3}}) {
    r.refiner_start = start;
    const ModelRun base(parts, r, /*refining=*/false), refiner(parts, r, /*refining=*/true);
    EXPECT_EQ(base.begin, 0u);
    EXPECT_EQ(base.end, std::size_t(first)) << start;
    EXPECT_EQ(refiner.begin, std::size_t(first)) << start;
    EXPECT_EQ(refiner.end, 4u);
  }
}

TEST(ModelRun, SecondOrderStepsAreTwoOfAPromptsSchedule) {
  const Request r = request_of(10);
  EXPECT_EQ(scheduled_steps(ModelRun(parts_of("DDIMScheduler"), r, /*refining=*/false).scheduler, r), 10);
  EXPECT_EQ(scheduled_steps(ModelRun(parts_of("HeunDiscreteScheduler"), r, /*refining=*/false).scheduler, r), 20);
}

// The pipeline that repaints leaves out PNDM's Runge-Kutta steps, which the others of this model do not.
TEST(ModelRun, ThePipelineThatRepaintsSetsItsSchedulerOtherwise) {
  Parts parts = parts_of("PNDMScheduler");
  parts.rules.repaint_quirks = PipelineQuirks::inpainting;
  Request r = request_of(10);
  const std::size_t whole = ModelRun(parts, r, /*refining=*/false).grid.steps.size();
  r.mask = std::make_shared<const Image>();
  EXPECT_EQ(ModelRun(parts, r, /*refining=*/false).grid.steps.size(), 11u);
  EXPECT_GT(whole, 11u);
}

// --- Sizes

TEST(Sizes, AreMultiplesOfTheModelsFactor) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.multiple = 8;
  EXPECT_EQ(make_plan(models, request_of(4), nullptr).request().width, 64);
  for (const int side : {60, 62, 63, 65}) {
    for (const bool wide : {true, false}) {
      Request r = request_of(4);
      (wide ? r.width : r.height) = side;
      const std::string message = message_of(Fault::usage, [&] { make_plan(models, r, nullptr); });
      const int below = side / 8 * 8;
      EXPECT_NE(message.find(concat(wide ? "width " : "height ", side, " is not a multiple of 8")), std::string::npos)
          << message;
      EXPECT_NE(message.find(concat("the nearest are ", below, " and ", below + 8)), std::string::npos) << message;
    }
  }
}

TEST(Sizes, OthersAreCutFromThoseThatAreDrawn) {
  const auto nearest = [](std::int64_t sample_size, Size asked) {
    const Size size = nearest_in_shape(drawn_sizes(sample_size), asked);
    return std::pair(size.width, size.height);
  };
  EXPECT_EQ(nearest(128, {1024, 1024}), std::pair(1024, 1024));
  EXPECT_EQ(nearest(128, {1920, 1080}), std::pair(1344, 768));
  EXPECT_EQ(nearest(64, {1080, 1920}), std::pair(384, 672));
  EXPECT_EQ(nearest(32, {10000, 10}), std::pair(512, 128));
  EXPECT_EQ(nearest(256, {800, 200}), std::pair(4096, 1024));
  EXPECT_EQ(nearest(256, {100, 300}), std::pair(1152, 3456));
  EXPECT_EQ(nearest(256, {100, 290}), std::pair(1152, 3328)) << "2.89 alone has this shape";
  EXPECT_EQ(nearest(64, {100, 290}), std::pair(288, 864));
  // Half way between two keys, as they are in float64, the first one stands.
  EXPECT_EQ(nearest(64, {200, 194}), std::pair(512, 480));
  EXPECT_TRUE(drawn_sizes(16).empty());

  const Tensor picture = at::arange(48, at::kFloat).view({1, 1, 6, 8});
  EXPECT_TRUE(cut_to(picture, {8, 6}).equal(picture));
  const Tensor half = cut_to(picture, {3, 3});  // 4x3, and a column too many
  EXPECT_EQ(half.sizes(), (std::vector<std::int64_t>{1, 1, 3, 3}));
  EXPECT_TRUE(half.equal(at::upsample_bilinear2d(picture, {3, 4}, /*align_corners=*/false).narrow(3, 0, 3)));
  // 304 times 300/304 is less than 300.
  EXPECT_EQ(cut_to(at::zeros({1, 1, 208, 304}), {300, 200}).sizes(), (std::vector<std::int64_t>{1, 1, 200, 300}));
  for (int side = 1; side < 400; ++side)
    EXPECT_EQ(cut_to(at::zeros({1, 1, 5, 49}), {side, 1}).size(3), side) << "whatever rounding makes of it";
}

TEST(Sizes, PicturesAreDrawnOnInThoseThatAreDrawn) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.drawn = {{64, 32}, {32, 32}};
  models.base.defaults.strength = models.base.of_picture.strength = 0.8;
  EXPECT_EQ(make_plan(models, request_of(4), nullptr).request().width, 64);
  Request r = request_of(4);
  r.width = 61;
  EXPECT_EQ(make_plan(models, r, nullptr).request().width, 61) << "any size is cut from one";
  r.init_image = std::make_shared<const Image>(Image{5, 6, std::vector<std::uint8_t>(90)});
  EXPECT_NE(message_of(Fault::usage, [&] { make_plan(models, r, nullptr); }).find("not at 61x32; the nearest is 64x32"),
            std::string::npos);
  r.width.reset(), r.height.reset();
  EXPECT_EQ(make_plan(models, r, nullptr).request().width, 32);
}

TEST(Sizes, MayBeOne) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.multiple = models.base.latents.most = 32;
  Request r = request_of(4);
  EXPECT_NE(message_of(Fault::usage, [&] { make_plan(models, r, nullptr); })
                .find("width 64: this model draws pictures of 32x32 alone"),
            std::string::npos);
  r.width = 32;
  EXPECT_EQ(make_plan(models, r, nullptr).request().width, 32);
}

TEST(Sizes, MarginsGrowByWhatIsMissing) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.latents.multiple = 8;
  models.base.defaults.strength = 0.8;
  const auto rounded = [&](const Margins& margins) {
    Request r = request_of(4);
    r.init_image = std::make_shared<const Image>(Image{20, 24, {}});
    r.extend = margins;
    r.width.reset(), r.height.reset();
    settle_pictures(models, r);
    return *r.extend;
  };
  EXPECT_EQ(rounded({4, 8, 0, 0}), (Margins{4, 8, 0, 0})) << "nothing is missing";
  EXPECT_EQ(rounded({1, 1, 0, 0}), (Margins{4, 8, 0, 0})) << "the side that grows alone";
  EXPECT_EQ(rounded({1, 1, 1, 1}), (Margins{1, 1, 3, 7})) << "of two the one at the end";
  EXPECT_EQ(rounded({0, 0, 0, 9}), (Margins{0, 0, 4, 16}));
}

// --- Batches

using Alike = std::function<bool(const Plan::Impl&, const Plan::Impl&)>;
using Sizes = std::vector<std::pair<std::size_t, std::size_t>>;  // first, and how many

Sizes batched(const std::vector<Request>& requests, std::size_t rows, const Alike& alike) {
  const Parts parts = parts_of("DDIMScheduler");
  std::vector<Plan> plans;
  for (const Request& request : requests) plans.push_back(test::plan_as_it_is(parts, request));
  Sizes found;
  for (const Batch& batch : batches(plans, rows, alike)) found.emplace_back(batch.first, batch.plans.size());
  return found;
}

TEST(Batches, WordsAndSeedsMayDiffer) {  // and nothing else: see neighbours_test.cpp
  const auto always = [](auto&, auto&) { return true; };
  // Each row is told these for itself.
  Request same = request_of(4);
  same.prompt = "x", same.negative_prompt.reset(), same.seed = 9, same.clip_skip = 1;
  same.sizes.original_size = Size{1, 2}, same.sizes.target_size = Size{3, 4}, same.sizes.crop = Point{5, 6};
  EXPECT_EQ(batched({request_of(4), same}, 4, always).size(), 1u);
  EXPECT_EQ(batched({request_of(4), request_of(5)}, 4, always).size(), 2u);
}

TEST(Batches, KeepTheOrderAndTheSize) {
  const std::vector<Request> requests(5, request_of(4));
  EXPECT_EQ(batched(requests, 2, [](auto&, auto&) { return true; }), (Sizes{{0, 2}, {2, 2}, {4, 1}}));
  EXPECT_EQ(batched(requests, 2, [](auto&, auto&) { return false; }), (Sizes{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}}));
}

// What is the same is not understood twice.
TEST(Plans, TakeOverWhatIsTheSame) {
  const Models models{"toy", parts_of("DDIMScheduler"), {}};
  Request other = request_of(4);
  other.prompt = "a bird", other.seed = 8;
  const Plan first = make_plan(models, request_of(4), nullptr), second = make_plan(models, other, &first);
  EXPECT_EQ(first.impl().runs, second.impl().runs);
  EXPECT_EQ(second.request().prompt, "a bird");
  EXPECT_NE(make_plan(models, request_of(5), &first).impl().runs, first.impl().runs);
}

}  // namespace
}  // namespace sdgen
