// Pictures of each family on a GPU beside those on the CPU. tools/gpu_check.py has the embedded model's.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdlib>

#include "core/drawn.h"
#include "core/tiny_models.h"
#include "device/device.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

struct Family {
  const char* name;
  std::filesystem::path (*make)(test::TinyModels& models);
  const char* prompt = "a red fox";
  std::filesystem::path (*steering)(test::TinyModels& models) = nullptr;  // a ControlNet
};
void PrintTo(const Family& family, std::ostream* out) { *out << family.name; }

class CudaPictures : public testing::TestWithParam<Family>, protected test::TinyModels {
 protected:
  // Two of them, so that recorded calls are played again.
  std::vector<Image> drawn(const char* device, Precision precision) {
    Observer nobody;
    LoadOptions options{.device = device, .precision = precision};
    Request r;
    if (GetParam().steering) {
      options.controlnets = {net_};
      r.controls = {{picture_}};
    }
    const Pipeline pipeline = Pipeline::load(model_, options, nobody);
    r.prompt = GetParam().prompt, r.steps = 4, r.width = r.height = 32, r.seed = 3;
    Request next = r;
    next.seed = 4;
    return test::drawn(pipeline, {r, next}, nobody);
  }
  static int largest_difference(const std::vector<Image>& a, const std::vector<Image>& b) {
    int most = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
      for (std::size_t j = 0; j < a[i].rgb.size(); ++j)
        most = std::max(most, std::abs(int(a[i].rgb[j]) - int(b[i].rgb[j])));
    return most;
  }

  std::filesystem::path model_ = [this] {
    at::manual_seed(1);
    return GetParam().make(*this);
  }();
  std::filesystem::path net_ = GetParam().steering ? GetParam().steering(*this) : std::filesystem::path();
  std::shared_ptr<const Image> picture_ = [] {
    Image image{32, 32, std::vector<std::uint8_t>(std::size_t{3} * 32 * 32)};
    for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(i * i % 251);
    return std::make_shared<const Image>(std::move(image));
  }();
};

TEST_P(CudaPictures, AreTheCpusInFloat32) {
  try {
    open_device("cuda");
  } catch (const Error&) {
    GTEST_SKIP() << "there is no CUDA device";
  }
  EXPECT_LE(largest_difference(drawn("cuda", Precision::float32), drawn("cpu", Precision::float32)), 3);
  for (const Precision half : {Precision::bfloat16, Precision::float16}) EXPECT_EQ(drawn("cuda", half).size(), 2u);
}

// That the models draw at all, and different seeds different pictures, needs no GPU.
TEST_P(CudaPictures, AreOfModelsThatDraw) {
  const std::vector<Image> images = drawn("cpu", Precision::float32);
  EXPECT_GT(largest_difference({images[0]}, {images[1]}), 10);
}

INSTANTIATE_TEST_SUITE_P(
    Families, CudaPictures,
    testing::Values(Family{"sdxl", [](test::TinyModels& m) { return m.xl(); }},
                    Family{"sd35", [](test::TinyModels& m) { return m.sd35(); }},
                    Family{"flux", [](test::TinyModels& m) { return m.flux("FluxPipeline"); }},
                    Family{"sd35_steered", [](test::TinyModels& m) { return m.sd35(); }, "a red fox",
                           [](test::TinyModels& m) { return m.sd3_controlnet("told"); }},
                    Family{"flux_steered", [](test::TinyModels& m) { return m.flux("FluxPipeline"); }, "a red fox",
                           [](test::TinyModels& m) { return m.flux_controlnet("net"); }},
                    Family{"pixart", [](test::TinyModels& m) { return m.pixart(); }},
                    Family{"z_image", [](test::TinyModels& m) { return m.z_image(); }},
                    Family{"dit", [](test::TinyModels& m) { return m.dit(); }, "1"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sdgen
