// What overflows in half precision is said, and never drawn black. (The autoencoder's case is in pipeline_test.cpp.)
#include <ATen/TensorOperators.h>

#include "core/drawn.h"
#include "core/tiny_models.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

struct HalfPrecision : testing::Test, protected test::TinyModels {
  Image make(Precision precision) {
    Observer nobody;
    const Pipeline pipeline = Pipeline::load(model_, {.device = "cpu", .precision = precision}, nobody);
    Request r;
    r.prompt = "a fox", r.seed = 1, r.steps = 2, r.width = r.height = 32;
    return test::drawn(pipeline, {r}, nobody)[0];
  }
  std::filesystem::path model_ = sd35(1e6);
};

TEST_F(HalfPrecision, ATransformerThatOverflowsIsRefusedWithAdvice) {
  EXPECT_EQ(make(Precision::float32).width, 32);
  EXPECT_EQ(make(Precision::bfloat16).width, 32) << "its numbers go as far as float32's";
  EXPECT_CONTAINS(message_of(Fault::device, [&] { make(Precision::float16); }),
                  "the denoising network gave NaN or infinity in float16; try precision bfloat16, whose numbers go "
                  "further, or float32");
}

}  // namespace
}  // namespace sdgen
