// What becomes of the pictures of a request: masks, references.
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "base/scratch.h"
#include "core/fixture.h"
#include "core/stand_ins.h"
#include "stages/picture_request.h"
#include "stages/start.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::grey_image;
using test::parts_of;
using test::request_of;

Request masked_request(const std::function<int(int x, int y)>& mask) {
  Request r = request_of(4);
  r.strength = 0.5;
  r.init_image = grey_image(64, 32, [](int x, int) { return 4 * x; });
  r.mask = grey_image(64, 32, mask);
  return r;
}

TEST(Masks, AreRepaintedFromTheMiddleGreyOn) {
  const Parts parts = parts_of("DDIMScheduler");
  const Request r = masked_request([](int x, int) { return x < 32 ? 127 : 128; });
  const InputPictures source(parts, r);
  EXPECT_EQ(source.mask.sizes(), (std::vector<std::int64_t>{1, 1, 32, 64}));
  EXPECT_EQ(source.mask.slice(3, 0, 32).sum().item<float>(), 0) << "127 is kept";
  EXPECT_EQ(source.mask.slice(3, 32).sum().item<float>(), 32 * 32) << "128 is repainted";
  EXPECT_TRUE(source.latent_mask.flatten().equal(at::tensor(std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1}).repeat({4})));
}

TEST(Masks, ABlurReachesBeyondTheEdge) {
  const Parts parts = parts_of("DDIMScheduler");
  Request r = masked_request([](int x, int) { return x < 32 ? 0 : 255; });
  const auto white = [&] {
    const Image& mask = InputPictures(parts, r).overlay->mask;
    return std::pair{int(mask.rgb[3 * 30]), int(mask.rgb[3 * 33])};
  };
  EXPECT_EQ(white(), (std::pair{0, 255}));
  r.mask_blur = 4;
  EXPECT_GT(white().first, 50);
  EXPECT_LT(white().second, 205);
}

TEST(Masks, WhatIsKeptIsAsNoisyAsTheNextStepBegins) {
  const Parts parts = parts_of("DDIMScheduler");
  const Request r = masked_request([](int x, int) { return x < 32 ? 0 : 255; });
  const InputPictures source(parts, r);
  const ModelRun run(parts, r, /*refining=*/false);
  ASSERT_EQ(run.begin, 2u);
  const std::vector<std::uint64_t> seeds = {1};
  SeededNoise noise(seeds, {4, 4, 8}, at::kCPU), same(seeds, {4, 4, 8}, at::kCPU);
  const Tensor x0 = at::full({1, 4, 4, 8}, 3.0);
  const Start start = first_start(run, r, source, noise, {[&](const Tensor&, const Noise&) { return x0; }, false});
  const Tensor drawn = same();
  const auto noisy = [&](std::size_t i) {
    return run.grid.steps[i].from.alpha * x0 + run.grid.steps[i].from.sigma * drawn;
  };
  EXPECT_TRUE(start.x.equal(noisy(2)));
  const Tensor made = at::full({1, 4, 4, 8}, 7.0);
  for (const std::size_t i : {3, 4}) {
    const Tensor between = start.between(made, i);
    test::expect_close(between.slice(3, 0, 4), (i == 4 ? x0 : noisy(i)).slice(3, 0, 4), 1e-6, "what is kept");
    EXPECT_TRUE(between.slice(3, 4).equal(made.slice(3, 4))) << "what is made";
  }
}

TEST(Masks, WhatIsKeptIsPutBack) {
  const Parts parts = parts_of("DDIMScheduler");
  const Request r = masked_request([](int x, int) { return x < 32 ? 0 : 255; });
  const Image result = InputPictures(parts, r).finished(*grey_image(64, 32, [](int, int) { return 9; }));
  EXPECT_EQ(int(result.rgb[3 * 31]), 4 * 31);
  EXPECT_EQ(int(result.rgb[3 * 32]), 9);
}

TEST(InputPictures, AReferenceIsShownInTheSizeOfItsShape) {
  Parts parts = parts_of("DDIMScheduler");
  parts.latents.multiple = 16;
  parts.shown.sizes = {{720, 1456}, {800, 1328}, {1024, 1024}, {1568, 680}};
  const auto shown = [&](int width, int height) {
    Request r = request_of(4);
    r.references = {grey_image(width, height, [](int, int) { return 9; })};
    const at::Tensor reference = InputPictures(parts, r).references.at(0);
    return Size{static_cast<int>(reference.size(3)), static_cast<int>(reference.size(2))};
  };
  EXPECT_EQ(shown(64, 64), (Size{1024, 1024}));
  EXPECT_EQ(shown(48, 80), (Size{800, 1328}));
  EXPECT_EQ(shown(40, 64), (Size{720, 1456})) << "of the 32x64 pixels that are whole patches";
  EXPECT_EQ(shown(64, 20), (Size{1568, 672})) << "in whole patches";
}

TEST(InputPictures, AReferenceOfItsOwnSizeIsCutToWholePatches) {
  Parts parts = parts_of("DDIMScheduler");
  parts.latents.multiple = 16;
  parts.shown = {.most = 10, .most_pixels = 1024 * 1024, .least_side = 64, .most_lengthy = 8, .gives_size = true};
  const auto shown = [&](int width, int height) {
    Request r = request_of(4);
    r.references = {grey_image(width, height, [](int x, int) { return x % 251; })};
    return InputPictures(parts, r).references.at(0);
  };
  const at::Tensor cut = shown(77, 90);  // to 64x80: six columns and five rows are left out before it
  EXPECT_EQ(cut.sizes(), (at::IntArrayRef{1, 3, 80, 64}));
  EXPECT_NEAR(cut[0][0][0][0].item<double>(), 2 * 6 / 255.0 - 1, 1e-6);
  EXPECT_EQ(shown(2000, 1000).sizes(), (at::IntArrayRef{1, 3, 720, 1440})) << "of 1448x724";

  Models models{"toy", parts, {}};
  models.base.defaults = {.steps = 4, .width = 64, .height = 64};
  Request r = request_of(4);
  r.width.reset(), r.height.reset();
  r.references = {grey_image(77, 90, [](int, int) { return 9; }), grey_image(64, 64, [](int, int) { return 9; })};
  const Request planned = make_plan(models, r, nullptr).request();
  EXPECT_EQ((Size{*planned.width, *planned.height}), (Size{64, 80})) << "the first one's";
  const auto refusal = [&](int width, int height) {
    r.references = {grey_image(width, height, [](int, int) { return 9; })};
    return message_of(Fault::input, [&] { make_plan(models, r, nullptr); });
  };
  EXPECT_NE(refusal(63, 90).find("a picture of 63x90 is too small"), std::string::npos);
  EXPECT_NE(refusal(640, 72).find("is too wide"), std::string::npos);
  EXPECT_NE(refusal(64, 513).find("is too high"), std::string::npos);
}

TEST(SettlePictures, ModelsSayWhatPicturesTheyTake) {
  Models models{"toy", parts_of("DDIMScheduler"), {}};
  models.base.defaults = {.steps = 4, .width = 64, .height = 64};
  Request r = request_of(4);
  const auto refusal = [&] { return message_of(Fault::usage, [&] { make_plan(models, r, nullptr); }); };
  r.references = {grey_image(32, 32, [](int, int) { return 9; })};
  EXPECT_EQ(refusal().find("references: toy is not a model that edits pictures"), 0u) << refusal();
  models.base.shown = {.most = 1, .sizes = {{64, 64}}};
  make_plan(models, r, nullptr);
  r.references.push_back(r.references[0]);
  EXPECT_NE(refusal().find("toy is shown 1 picture, and 2 are given"), std::string::npos) << refusal();
  r.init_image = r.references[0];
  r.references.clear();
  EXPECT_NE(refusal().find("which is shown pictures with references"), std::string::npos) << refusal();
  models.base.shown = {};
  models.base.extra_channels = ExtraChannels::steering_picture;
  r.controls = {{std::exchange(r.init_image, nullptr)}};
  make_plan(models, r, nullptr);
  r.controls[0].scale = 0.5;
  EXPECT_NE(refusal().find("it has no scale"), std::string::npos) << refusal();
  r.controls.clear();
  EXPECT_NE(refusal().find("toy is steered by a picture"), std::string::npos) << refusal();
  models.base.extra_channels = ExtraChannels::picture_and_mask;
  EXPECT_NE(refusal().find("toy is a model that repaints pictures"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace sdgen
