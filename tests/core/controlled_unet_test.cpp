// Pictures that steer a U-Net: how much, at which calls, and which rows of the batch. What each network answers is
// compared with diffusers' in control_test.cpp.
#include "nn/controlled_unet.h"

#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "core/plans.h"
#include "core/tensor_files.h"
#include "stages/control.h"

namespace sdgen {
namespace {

using test::Fixture;
using test::Tensors;

// The U-Net and the ControlNet of the fixtures, which fit together, and an adapter for them.
class Steered : public testing::Test {
 protected:
  Steered()
      : unet_fixture_("layers/unet-sd1"),
        net_fixture_("layers/controlnet-sd"),
        unet_(std::make_shared<UNet>(unet_fixture_.weights(), UNetConfig::from(unet_fixture_.config()))),
        net_(std::make_shared<ControlNet>(net_fixture_.weights(), ControlNetConfig::from(net_fixture_.config()))),
        adapter_(adapter()),
        x_(unet_fixture_.tensor("in.sample")),
        t_(test::times(x_, 500)),
        picture_(net_fixture_.tensor("in.picture")) {
    conditioning_.context = unet_fixture_.tensor("in.context");
  }

  // Of two levels: 8 channels at a quarter of the picture's sides, 12 at an eighth.
  std::shared_ptr<const T2IAdapter> adapter() const {
    at::manual_seed(1);
    Tensors all;
    const auto conv = [&all](const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel) {
      all["adapter." + name + ".weight"] = 0.2 * at::randn({out, in, kernel, kernel}, at::kFloat);
      all["adapter." + name + ".bias"] = at::randn({out}, at::kFloat);
    };
    conv("conv_in", 8, 48, 3);
    conv("body.0.resnets.0.block1", 8, 8, 3), conv("body.0.resnets.0.block2", 8, 8, 1);
    conv("body.1.in_conv", 12, 8, 1);
    conv("body.1.resnets.0.block1", 12, 12, 3), conv("body.1.resnets.0.block2", 12, 12, 1);
    const Json config = {
        {"_class_name", "T2IAdapter"}, {"channels", {8, 12}}, {"num_res_blocks", 1}, {"downscale_factor", 4}};
    const auto file = test::write_tensors(scratch_, "adapter.safetensors", all);
    return std::make_shared<T2IAdapter>(test::open_weights({file}, at::kCPU, at::kFloat),
                                        T2IAdapterConfig::from(Config(config, "test")));
  }
  NetControl control(double scale) const { return {net_, net_->embed(picture_), scale}; }
  Tensor plain() const { return unet_->predict(x_, t_, conditioning_); }
  Tensor predicted(const Backbone& backbone) const { return backbone.predict(x_, t_, conditioning_); }

  UNetSteering steering() const {
    UNetSteering s;
    s.nets = {net_};
    s.adapters = {{adapter_, 2}};
    s.known.infos = {{ControlInfo::Kind::controlnet, "net", "net", ""},
                     {ControlInfo::Kind::t2i_adapter, "adapter", "adapter", ""}};
    s.known.sights = {{}, {}};
    return s;
  }

  const c10::InferenceMode inference_;
  const Scratch scratch_;
  const Fixture unet_fixture_, net_fixture_;
  const std::shared_ptr<const UNet> unet_;
  const std::shared_ptr<const ControlNet> net_;
  const std::shared_ptr<const T2IAdapter> adapter_;
  const Tensor x_, t_, picture_;  // two rows; one picture
  Conditioning conditioning_;
};

TEST_F(Steered, ControlNetsAddUpAsTheirScalesSay) {
  const ControlNet::Residuals once = net_->forward(x_, t_, conditioning_, net_->embed(picture_), 1, false);
  UNet::Features f = unet_->encode(x_, t_, conditioning_);
  for (std::size_t i = 0; i < f.skips.size(); ++i) f.skips[i] = f.skips[i] + 0.75 * once.skips[i];
  f.mid = f.mid + 0.75 * once.mid;
  const Tensor expected = unet_->decode(std::move(f), conditioning_);
  EXPECT_GT(test::relative_difference(plain(), expected), 1e-2);
  const ControlledUNet one(unet_, {control(0.75)}, {}, {});
  test::expect_close(predicted(one), expected, 1e-5, "one of 0.75");
  const ControlledUNet two(unet_, {control(0.5), control(0.25)}, {}, {});
  test::expect_close(predicted(two), expected, 1e-5, "0.5 and 0.25");
}

TEST_F(Steered, GuessModeLeavesTheNegativeRowsAlone) {
  const ControlledUNet guessing(unet_, {control(1)}, {}, {.guess = true, .pictures = 1});
  const Tensor result = predicted(guessing), without = plain();
  test::expect_close(result[0], without[0], 1e-5, "the negative prompt's row");
  EXPECT_GT(test::relative_difference(result[1], without[1]), 1e-3);
  const ControlledUNet alone(unet_, {control(1)}, {}, {.guess = true, .pictures = 2});
  test::expect_close(result.narrow(0, 1, 1),
                     alone.predict(x_.narrow(0, 1, 1), t_.narrow(0, 1, 1), conditioning_.rows(1, 2)), 1e-5,
                     "the prompt's row");
}

TEST_F(Steered, AdaptersAddTheirFeaturesOnEveryLevel) {
  const auto at_scale = [&](double scale) {
    UNetSteering s = steering();
    s.nets.clear();
    return predicted(*steer_calls(s.of(unet_), {{picture_, scale, {0, 1}}}, {}, 1, {}).at(0));
  };
  const std::vector<Tensor> features = adapter_->features(picture_);
  ASSERT_EQ(features.size(), 2u);
  Additions half;
  for (const Tensor& feature : features) half.levels.push_back(0.5 * feature);
  const Tensor expected = unet_->decode(unet_->encode(x_, t_, conditioning_, half), conditioning_);
  test::expect_close(at_scale(0.5), expected, 1e-5, "half of it");
  EXPECT_GT(test::relative_difference(at_scale(1), expected), 1e-3);
  test::expect_close(at_scale(0), plain(), 1e-6, "nothing of it");
}

// diffusers: entry i of n where start <= i/n and (i+1)/n <= end.
TEST_F(Steered, ARangeIsOfTheCalls) {
  Parts parts{.family = "StableDiffusionPipeline",
              .device = at::kCPU,
              .dtype = at::kFloat,
              .latents = {.factor = 4},
              .scheduler = Config({{"_class_name", "DDIMScheduler"}}, "test"),
              .steering = steering().known};
  Image image{24, 16, std::vector<std::uint8_t>(std::size_t{3} * 24 * 16)};
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(i * i % 251);
  const auto picture = std::make_shared<const Image>(std::move(image));
  Request r;
  r.width = 24, r.height = 16, r.steps = 4, r.guidance_scale = 1;
  const auto steered_calls = [&](double net_scale, double adapter_scale, double start, double end) {
    r.controls = {{picture, net_scale, start, end, {}}, {picture, adapter_scale, start, end, {}}};
    const std::vector<Plan> plans{test::plan_as_it_is(parts, r)};
    const auto steered = steer(steering().of(unet_), plans[0].impl().run(0), {0, plans, 1}, {Tensor(), Tensor()});
    std::string calls;
    for (std::size_t call = 0; call < 4; ++call)
      calls += test::relative_difference(predicted(*steered.at(call)), plain()) > 1e-4 ? 'x' : '-';
    return calls;
  };
  for (const auto& [start, end, calls] :
       {std::tuple{0.0, 1.0, "xxxx"}, {0.25, 0.75, "-xx-"}, {0.0, 0.5, "xx--"}, {0.5, 1.0, "--xx"}}) {
    EXPECT_EQ(steered_calls(1, 0, start, end), calls) << "ControlNet, " << start << " to " << end;
    EXPECT_EQ(steered_calls(0, 1, start, end), calls) << "T2I-Adapter, " << start << " to " << end;
  }
  EXPECT_EQ(steered_calls(1, 0, 0.3, 0.8), "--x-");
  EXPECT_EQ(steered_calls(1, 0, 0.2, 0.74), "-x--");
}

// A steered network's calls are recorded like others, once for each set of what acts.
TEST_F(Steered, CallsAreRecorded) {
  int recorded = 0, replayed = 0;
  const Replays::Recorder recorder = [&](const std::function<void()>& run) {
    ++recorded;
    run();
    return [&replayed, run] {
      ++replayed;
      run();
    };
  };
  const std::vector<ControlInput> uses{{picture_, 1, {0, 2}}, {picture_, 1, {1, 4}}};
  const auto plain = steer_calls(steering().of(unet_), uses, {}, 5, {}),
             replaying = steer_calls(steering().of(unet_), uses, {}, 5, recorder);
  for (std::size_t call = 0; call < 5; ++call)
    EXPECT_TRUE(at::equal(predicted(*replaying.at(call)), predicted(*plain.at(call)))) << call;
  EXPECT_EQ(recorded, 4) << "the ControlNet; both; the adapter; none";
  EXPECT_EQ(replayed, 5);
}

}  // namespace
}  // namespace sdgen
