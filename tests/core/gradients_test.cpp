// Networks that learn: gradients of losses against diffusers' and transformers' (tests/fixtures/README.md).
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "nn/clip_text.h"
#include "nn/unet.h"
#include "nn/vae.h"

namespace sdgen {
namespace {

using test::Fixture;

Tensor learning(const Tensor& x, at::ScalarType dtype) { return x.to(dtype).clone().requires_grad_(); }

// In float64 the reference's rounding is the only one, and a mistake shows. In float32 the operators have kernels to
// choose from, and rounding differs by processor: the gradients of diffusers itself are up to 2.3e-5 from those that it
// has in float64, ours up to 4.8e-5 (Intel Xeon with AVX-512, to_q of unet-sdxl, with every instruction set).
class Gradients : public testing::TestWithParam<at::ScalarType> {
 protected:
  const Fixture answers_{"gradients"};
  const double tolerance_ = GetParam() == at::kDouble ? 1e-6 : 1e-4;

  // What goes into a network or comes out of it, by its name.
  using Named = std::map<std::string, Tensor>;

  static Weights weights(const Fixture& f) { return f.weights(GetParam()).keeping(Keep::trainable); }
  static Tensor input(const Fixture& f, const std::string& name) {
    return learning(f.tensor("in." + name), GetParam());
  }

  Tensor loss(const std::string& name, const Named& outputs) const {
    Tensor sum;
    for (const auto& [key, output] : outputs) {
      const Tensor distance = at::mse_loss(output, answers_.tensor(name + ".target." + key).to(output.scalar_type()));
      sum = sum.defined() ? sum + distance : distance;
    }
    return sum;
  }

  void expect_gradients(const std::string& name, const Named& outputs, const Named& inputs,
                        const Module& network) const {
    loss(name, outputs).backward();
    for (const auto& [key, input] : inputs)
      test::expect_close(input.grad(), answers_.tensor(name + ".grad." + key), tolerance_, key);

    const Tensor norms = answers_.tensor(name + ".norms").to(at::kDouble);
    const Tensor samples = answers_.tensor(name + ".sample").to(at::kDouble);
    const auto parameters = network.named_parameters();
    ASSERT_EQ(norms.size(0), std::ssize(parameters));
    std::int64_t i = 0, first = 0;
    for (const auto& [key, parameter] : parameters) {
      SCOPED_TRACE(key);
      ASSERT_TRUE(parameter.grad().defined());
      const Tensor gradient = parameter.grad().to(at::kDouble).flatten();
      // As tools/reference/gradient_fixtures.py samples it.
      constexpr std::int64_t most = 24, stride = 7919;
      const std::int64_t n = gradient.size(0), count = std::min(n, most);
      for (std::int64_t k = 0; k < count; ++k) {
        const double right = samples[first + k].item<double>();
        const Tensor ours = gradient[n <= most ? k : k * stride % n];
        // Where nothing is right but nothing, rounding is as large as in the parameters that the same numbers reach.
        const double largest = std::max(gradient.abs().max().item<double>(), 0.01);
        EXPECT_NEAR(ours.item<double>(), right, tolerance_ * largest) << k;
      }
      const double norm = norms[i++].item<double>();
      EXPECT_NEAR(gradient.norm().item<double>(), norm, tolerance_ * std::max(norm, 0.01));
      first += count;
    }
    EXPECT_EQ(first, samples.size(0));
  }

  // A U-Net of the layer fixtures, with low-rank terms where `terms` has them, and its inputs.
  struct Unet {
    Named inputs;
    Conditioning conditioning;
    Tensor t;
    std::unique_ptr<UNet> network;
    Tensor predict() const { return network->predict(inputs.at("sample"), t, conditioning); }
  };
  static Unet unet(const std::string& name, const Weights::Terms& terms = {}) {
    const Fixture f("layers/" + name);
    Unet unet{{{"sample", input(f, "sample")}, {"context", input(f, "context")}}, {}, f.timesteps(), nullptr};
    unet.conditioning.context = unet.inputs.at("context");
    if (f.has("in.text_embeds")) {
      unet.conditioning.pooled = f.tensor("in.text_embeds").to(GetParam());
      unet.conditioning.size_ids = f.tensor("in.time_ids").to(at::kFloat);
    }
    const Weights w = weights(f);
    unet.network = std::make_unique<UNet>(terms ? w.adding(terms) : w, UNetConfig::from(f.config()));
    return unet;
  }
};

INSTANTIATE_TEST_SUITE_P(Types, Gradients, testing::Values(at::kDouble, at::kFloat), [](const auto& info) {
  return std::string(info.param == at::kDouble ? "Float64" : "Float32");
});

TEST_P(Gradients, OfUNets) {
  for (const std::string name : {"unet-sd1", "unet-scale-shift"}) {
    SCOPED_TRACE(name);
    const Unet learner = unet(name);
    expect_gradients(name, {{"sample", learner.predict()}}, learner.inputs, *learner.network);
  }
}

// The terms are what a LoRA learns.
TEST_P(Gradients, OfLowRankTermsToo) {
  Named factors;
  const double scale = answers_.json("scale");
  for (const std::string module : answers_.json("terms"))
    for (const char* part : {"down.", "up."})
      factors[part + module] = learning(answers_.tensor(concat("unet-sdxl.", part, module)), GetParam());
  const Unet learner = unet("unet-sdxl", [&](const std::string& name) -> std::vector<LowRank> {
    const std::string module = name.substr(2, name.size() - std::string("w..weight").size());
    const auto up = factors.find("up." + module);
    if (up == factors.end()) return {};
    return {{factors.at("down." + module), up->second, scale}};
  });
  Named inputs = learner.inputs;
  inputs.insert(factors.begin(), factors.end());
  expect_gradients("unet-sdxl", {{"sample", learner.predict()}}, inputs, *learner.network);
}

TEST_P(Gradients, OfAUNetWithoutText) {
  const Fixture f("layers/unet2d-attention");
  const UNet network(weights(f), UNetConfig::unconditional(f.config()));
  const Named inputs{{"sample", input(f, "sample")}};
  const Tensor y = network.predict(inputs.at("sample"), f.timesteps(), {});
  expect_gradients("unet2d-attention", {{"sample", y}}, inputs, network);
}

TEST_P(Gradients, OfATextEncoder) {
  const Fixture f("layers/clip-projection");
  // A network reads its weights where nothing is computed for learning, too: they can all the same.
  const auto network = [&] {
    const c10::InferenceMode inference;
    return std::make_unique<ClipText>(weights(f), ClipTextConfig::from(f.config()));
  }();
  const ClipText::Output y = network->forward(f.tensor("in.ids"));
  expect_gradients("clip-projection",
                   {{"penultimate", y.hidden[y.hidden.size() - 2]}, {"last", y.last}, {"pooled", y.pooled}}, {},
                   *network);
}

TEST_P(Gradients, OfAnAutoencoder) {
  const Fixture f("layers/vae-sd");
  const Vae network(weights(f), VaeConfig::from(f.config()));
  const Named inputs{{"latents", input(f, "latents")}, {"image", input(f, "image")}};
  const Vae::Posterior posterior = network.encode(inputs.at("image"));
  const Tensor image = network.decode(inputs.at("latents") * network.config().scaling_factor);
  expect_gradients("vae-sd", {{"image", image}, {"mean", posterior.mean}, {"log_variance", posterior.log_variance}},
                   inputs, network);
}

// What is learnt is what the network computes with.
TEST_P(Gradients, AStepDownhillLowersTheLoss) {
  const Unet learner = unet("unet-sd1");
  const auto loss_now = [&] { return loss("unet-sd1", {{"sample", learner.predict()}}); };
  const Tensor before = loss_now();
  before.backward();
  double slope = 0;
  {
    const at::NoGradGuard none;
    for (const Tensor& parameter : learner.network->parameters())
      slope += parameter.grad().square().sum().item<double>();
    const double rate = 0.01 * before.item<double>() / slope;
    for (const Tensor& parameter : learner.network->parameters()) parameter.sub_(rate * parameter.grad());
  }
  EXPECT_NEAR(loss_now().item<double>(), 0.99 * before.item<double>(), 0.002 * before.item<double>());
}

// Else a step for one would look like a change of others, whose gradients are not computed yet.
TEST_P(Gradients, ParametersHaveMemoryOfTheirOwn) {
  for (const auto& [name, parameter] : unet("unet-sd1").network->named_parameters()) {
    EXPECT_EQ(parameter.storage().nbytes(), parameter.nbytes()) << name;
    EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad()) << name;
  }
}

// Between steps, pictures are drawn with the kernels: the same network, the same numbers.
TEST(TrainableNetworks, DrawWhatOthersDraw) {
  const c10::InferenceMode inference;
  const Fixture f("layers/unet-sd1");
  const Conditioning conditioning{.context = f.tensor("in.context")};
  const auto draw = [&](Keep keep) {
    const UNet unet(f.weights().keeping(keep), UNetConfig::from(f.config()));
    return unet.predict(f.tensor("in.sample"), f.timesteps(), conditioning);
  };
  test::expect_close(draw(Keep::trainable), draw(Keep::computed), 1e-5, "unet-sd1");
}

TEST(TrainableNetworks, OthersSayThatTheyHaveNoGradients) {
  const Fixture f("layers/unet-sd1");
  const UNet unet(f.weights(), UNetConfig::from(f.config()));
  const Conditioning conditioning{.context = learning(f.tensor("in.context"), at::kFloat)};
  try {
    unet.predict(f.tensor("in.sample"), f.timesteps(), conditioning);
    FAIL() << "a gradient is lost on its way through a packed weight";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("Keep::trainable"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace sdgen
