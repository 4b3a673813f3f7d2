// Z-Image as a whole: prompts of a batch have different lengths, and so have the places behind them.
#include <gtest/gtest.h>

#include "core/drawn.h"
#include "core/tiny_models.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

class ZImage : public testing::Test, protected test::TinyModels {
 protected:
  static Request request(const std::string& prompt, double guidance) {
    Request r;
    r.prompt = prompt, r.negative_prompt = "a long list of what nobody wants to see in it";
    r.guidance_scale = guidance;
    r.steps = 2, r.width = 48, r.height = 32, r.seed = 5;
    return r;
  }
  static Pipeline load(const std::filesystem::path& model, int batch_size) {
    Observer nobody;
    return Pipeline::load(model, {.device = "cpu", .precision = Precision::float32, .batch_size = batch_size}, nobody);
  }
  std::filesystem::path model_ = [this] {
    at::manual_seed(1);
    return z_image();
  }();
};

TEST_F(ZImage, APictureIsTheSameAloneAndInABatch) {
  const Pipeline alone = load(model_, 1), together = load(model_, 3);
  Observer nobody;
  for (const double guidance : {0.0, 2.0}) {
    // Of more and of fewer words than there are in a group of tokens.
    const std::vector<Request> requests{
        request("a fox", guidance), request("", guidance),
        request("a fox and a dog and a cat and a bird and a horse and a fish, all of them in the snow of a mountain",
                guidance)};
    const std::vector<Image> batch = test::drawn(together, requests, nobody);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_TRUE(batch[i].rgb == test::drawn(alone, {requests[i]}, nobody)[0].rgb) << guidance << ", " << i;
      EXPECT_FALSE(batch[i].rgb == batch[(i + 1) % 3].rgb) << guidance << ", " << i;
    }
  }
}

// 0 is the prompt's answer alone, so that the negative prompt changes nothing.
TEST_F(ZImage, GuidanceOfZeroAsksForThePromptAlone) {
  const Pipeline pipeline = load(model_, 1);
  Observer nobody;
  Request other = request("a fox", 0);
  other.negative_prompt = "rain";
  EXPECT_TRUE(test::drawn(pipeline, {request("a fox", 0)}, nobody)[0].rgb ==
              test::drawn(pipeline, {other}, nobody)[0].rgb);
  other.guidance_scale = 0.5;
  EXPECT_FALSE(test::drawn(pipeline, {request("a fox", 0.5)}, nobody)[0].rgb ==
               test::drawn(pipeline, {other}, nobody)[0].rgb);
}

}  // namespace
}  // namespace sdgen
