// Previews: what they show, and that they change nothing.
#include <algorithm>
#include <cmath>

#include "core/drawn.h"
#include "core/fixture.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

struct Onlooker : Observer {
  explicit Onlooker(int every) : every(every) {}
  bool wants_preview(int done, int) override { return every > 0 && done % every == 0; }
  void preview(std::size_t first, const std::vector<Image>& pictures) override {
    batches.push_back({first, pictures.size()});
    last = pictures;
  }
  void detail(const std::string& message) override { details.push_back(message); }
  int every;
  std::vector<std::pair<std::size_t, std::size_t>> batches;  // first, pictures
  std::vector<Image> last;
  std::vector<std::string> details;
};

using test::drawn;

Pipeline load(const fs::path& model, int batch_size = 1) {
  Observer nobody;
  return Pipeline::load(model, {.device = "cpu", .precision = Precision::float32, .batch_size = batch_size}, nobody);
}

// Means over squares of `side` pixels.
std::vector<double> cells(const Image& image, int side) {
  std::vector<double> means;
  for (int top = 0; top < image.height; top += side)
    for (int left = 0; left < image.width; left += side)
      for (int c = 0; c < 3; ++c) {
        double sum = 0;
        for (int y = top; y < top + side; ++y)
          for (int x = left; x < left + side; ++x) sum += image.rgb[3 * (std::size_t(y) * image.width + x) + c];
        means.push_back(sum / (side * side));
      }
  return means;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  const double n = static_cast<double>(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    sa += a[i], sb += b[i];
    saa += a[i] * a[i], sbb += b[i] * b[i], sab += a[i] * b[i];
  }
  return (n * sab - sa * sb) / std::sqrt((n * saa - sa * sa) * (n * sbb - sb * sb));
}

Request request(const std::optional<std::string>& prompt, std::uint64_t seed, int steps) {
  Request r;
  r.prompt = prompt;
  r.seed = seed;
  r.steps = steps;
  return r;
}

// What the last step takes for the picture is the picture: of the embedded model its preview has the same colours in
// the same places.
TEST(Preview, LooksLikeThePicture) {
  const Pipeline pipeline = load(fs::path(SDGEN_SOURCE) / "models/default");
  Pipeline::Session session = pipeline.session();
  Onlooker onlooker(6);
  double sum = 0, least = 1;
  const std::vector<std::string> prompts = {"a red apple on a blue background", "a panda on a yellow background",
                                            "a rocket on a green background", "a pizza on a pink background"};
  for (const std::string& prompt : prompts) {
    const Image picture = test::drawn_by(session, pipeline, {request(prompt, 7, 6)}, onlooker).at(0);
    const Image& preview = onlooker.last.at(0);
    ASSERT_EQ(preview.width, picture.width);
    ASSERT_EQ(preview.height, picture.height);
    const double c = correlation(cells(preview, 16), cells(picture, 16));
    sum += c;
    least = std::min(least, c);
  }
  EXPECT_GT(least, 0.8);
  EXPECT_GT(sum / static_cast<double>(prompts.size()), 0.85);
  ASSERT_EQ(onlooker.details.size(), 1u) << "fitted once for all runs of a session";
  EXPECT_NE(onlooker.details[0].find(" ms"), std::string::npos);
}

TEST(Preview, ChangesNothing) {
  const Pipeline pipeline = load(fs::path(SDGEN_FIXTURES) / "tiny-sd", /*batch_size=*/2);
  for (const char* scheduler : {"ddim", "euler-a"}) {
    std::vector<Request> requests = {request("a fox", 1, 4), request("a bird", 2, 4), request("a cat", 3, 4)};
    for (Request& r : requests) r.scheduler = scheduler;
    Onlooker every(1), never(0);
    const std::vector<Image> with = drawn(pipeline, requests, every), without = drawn(pipeline, requests, never);
    for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(with[i].rgb, without[i].rgb) << scheduler << ' ' << i;
    const std::vector<std::pair<std::size_t, std::size_t>> expected = {{0, 2}, {0, 2}, {0, 2}, {0, 2},
                                                                       {2, 1}, {2, 1}, {2, 1}, {2, 1}};
    EXPECT_EQ(every.batches, expected);  // no preview of a row that only pads the batch
    EXPECT_TRUE(never.batches.empty());
  }
}

// Models without latents, and tiny autoencoders, are shown as they are.
TEST(Preview, OfPixelsIsThePicture) {
  const Pipeline pipeline = load(fs::path(SDGEN_FIXTURES) / "tiny-ddpm");
  Onlooker onlooker(1);
  Request r = request(std::nullopt, 7, 3);
  r.scheduler = "ddim";
  const Image picture = drawn(pipeline, {r}, onlooker).at(0);
  EXPECT_EQ(onlooker.last.at(0).rgb, picture.rgb);
  EXPECT_TRUE(onlooker.details.empty());
}

}  // namespace
}  // namespace sdgen
