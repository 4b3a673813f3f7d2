// A picture's bytes depend on its own request: not on the row of the batch that it has, nor on its neighbours. In
// float32 not on the batch's size and the number of threads either (src/README.md, "The same bytes").
#include <ATen/Parallel.h>
#include <ATen/native/verbose_wrapper.h>
#include <ATen/ops/empty.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/drawn.h"
#include "core/fixture.h"
#include "ops/onednn.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

const fs::path kTiny = fs::path(SDGEN_FIXTURES) / "tiny-sd", kEmbedded = fs::path(SDGEN_SOURCE) / "models/default";

struct Case {
  fs::path model;
  Precision precision;
  int width, height, steps;
};

std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.model == kTiny ? "Tiny" : "Embedded") +
         (info.param.precision == Precision::float32 ? "Float32" : "Bfloat16");
}
void PrintTo(const Case& c, std::ostream* out) { *out << c.width << "x" << c.height; }

class Rows : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().precision == Precision::bfloat16 && !has_bfloat16_products())
      GTEST_SKIP() << "oneDNN has no products of bfloat16 on this processor";
    at::set_num_threads(2);
  }
  void TearDown() override { at::set_num_threads(threads_); }
  static bool has_bfloat16_products() { return ops::onednn::takes(at::empty({1}, at::kBFloat16)); }

  static Pipeline load(int batch_size) {
    Observer nobody;
    return Pipeline::load(GetParam().model,
                          {.device = "cpu", .precision = GetParam().precision, .batch_size = batch_size}, nobody);
  }
  static Request request(const std::string& scheduler, const std::string& prompt, std::uint64_t seed) {
    Request r;
    r.scheduler = scheduler;
    if (!scheduler_info(scheduler)->diffusion) r.prediction_type = "flow_prediction";
    r.prompt = prompt;
    r.seed = seed;
    r.steps = GetParam().steps;
    r.width = GetParam().width;
    r.height = GetParam().height;
    return r;
  }
  // The picture in row `row` of a batch.
  static std::vector<std::uint8_t> drawn(const Pipeline& pipeline, const std::vector<Request>& batch, std::size_t row) {
    Observer nobody;
    return test::drawn(pipeline, batch, nobody)[row].rgb;
  }

  int threads_ = at::get_num_threads();
};

TEST_P(Rows, EverySchedulersPictureIsTheSameInEveryRow) {
  const bool whatever_the_batch = GetParam().precision == Precision::float32;
  std::vector<std::vector<std::uint8_t>> alone;
  const Pipeline single = load(1);
  const std::vector<SchedulerInfo> schedulers = scheduler_infos();
  for (const SchedulerInfo& scheduler : schedulers)
    alone.push_back(drawn(single, {request(scheduler.name, "a fox", 7)}, 0));
  for (const int size : {2, 3, 4}) {
    const Pipeline pipeline = load(size);
    for (std::size_t s = 0; s < schedulers.size(); ++s) {
      const Request wanted = request(schedulers[s].name, "a fox", 7);
      std::vector<std::uint8_t> first;
      for (int row = 0; row < size; ++row) {
        std::vector<Request> batch;
        for (int i = 0; i < size; ++i)
          batch.push_back(i == row ? wanted
                                   : request(schedulers[s].name, "a red car " + std::to_string(i),
                                             static_cast<std::uint64_t>(10 * row + i)));
        const auto picture = drawn(pipeline, batch, static_cast<std::size_t>(row));
        if (row == 0) first = picture;
        EXPECT_TRUE(picture == first) << schedulers[s].name << ", row " << row << " of " << size;
      }
      // A batch that is not full is padded: the same row, with fewer neighbours.
      EXPECT_TRUE(drawn(pipeline, {wanted}, 0) == first) << schedulers[s].name << ", alone in a batch of " << size;
      if (whatever_the_batch) {
        EXPECT_TRUE(first == alone[s]) << schedulers[s].name << ", " << size << " at a time";
      }
    }
  }
}

TEST_P(Rows, ThreadsChangeNothingInFloat32) {
  if (GetParam().precision != Precision::float32) return;  // oneDNN's products divide their sums by threads
  const Pipeline pipeline = load(2);
  const std::vector<Request> batch = {request("dpm++2m", "a fox", 7), request("dpm++2m", "a red car", 8)};
  std::set<std::vector<std::uint8_t>> pictures;
  for (const int threads : {1, 2, 3, 4}) {
    at::set_num_threads(threads);
    pictures.insert(drawn(pipeline, batch, 1));
  }
  EXPECT_EQ(pictures.size(), 1u);
}

// oneDNN lays out weights for a size; a layout for another is converted in every call.
TEST_P(Rows, WeightsAreLaidOutOnce) {
  const bool expects_products = GetParam().precision == Precision::bfloat16;
  const Pipeline pipeline = load(2);
  Pipeline::Session session = pipeline.session();
  for (const int size : {64, 96, 128, 192}) {
    Request r = request("euler", "a fox", 7);
    r.width = size;
    r.height = GetParam().height;
    const auto count = [&](const std::string& text, const std::string& part) {
      std::size_t n = 0;
      for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
      return n;
    };
    const std::vector<Request> batch = {r, r};
    Observer nobody;
    test::drawn_by(session, pipeline, batch, nobody);
    torch::verbose::_mkldnn_set_verbose(1);
    testing::internal::CaptureStdout();
    test::drawn_by(session, pipeline, batch, nobody);
    const std::string output = testing::internal::GetCapturedStdout();
    torch::verbose::_mkldnn_set_verbose(0);
    EXPECT_EQ(count(output, "exec,cpu,reorder"), 0u) << size << "\n" << output.substr(0, 2000);
    if (expects_products) {
      EXPECT_GT(count(output, "exec,cpu,convolution"), 0u) << "oneDNN says nothing";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Rows,
                         testing::Values(Case{kTiny, Precision::float32, 72, 56, 4},
                                         Case{kTiny, Precision::bfloat16, 72, 56, 4},
                                         Case{kEmbedded, Precision::float32, 64, 48, 4},
                                         Case{kEmbedded, Precision::bfloat16, 64, 48, 4}),
                         name_of_case);

}  // namespace
}  // namespace sdgen
