// Networks that take turns on a device: who works is there, the others are not, and the numbers stay what they are.
#include "weights/residency.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "core/second_device.h"
#include "nn/clip_text.h"
#include "nn/controlnet.h"
#include "nn/dit_transformer.h"
#include "nn/flux_controlnet.h"
#include "nn/flux_transformer.h"
#include "nn/lumina2_transformer.h"
#include "nn/pixart_transformer.h"
#include "nn/sd3_controlnet.h"
#include "nn/sd3_transformer.h"
#include "nn/t2i_adapter.h"
#include "nn/t5.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "nn/z_image_transformer.h"
#include "stages/memory_fallback.h"

namespace sdgen {
namespace {

using test::Fixture;
using test::kSecondDevice;

// A network, and what it answers.
struct Worker {
  std::string name;
  std::shared_ptr<Module> network;
  std::function<Tensor()> work;  // on the second device
  Tensor right;                  // what the CPU makes of it

  bool all_on(at::Device device) const {
    for (const Tensor& weight : network->parameters())
      if (weight.device() != device) return false;
    return true;
  }
  void expect_right_numbers() const {
    const Tensor answer = work();
    EXPECT_EQ(answer.device(), kSecondDevice) << name;
    test::expect_close(answer.cpu(), right, 1e-12, name);
  }
};

// Inputs of a network, where it works.
struct Inputs {
  const Fixture& fixture;
  at::Device device;
  Tensor operator()(const char* name) const { return fixture.has(name) ? fixture.tensor(name).to(device) : Tensor(); }
  Conditioning conditioning() const {
    const auto typed = [this](const char* name) {
      const Tensor x = (*this)(name);
      return x.defined() ? x.to(at::kDouble) : x;
    };
    Tensor mask = (*this)("in.mask"), pooled = typed("in.text_embeds");
    if (mask.defined()) mask = mask.to(at::kBool);
    if (!pooled.defined()) pooled = typed("in.pooled");
    return {.context = typed("in.context"),
            .context_mask = mask,
            .pooled = pooled,
            .size_ids = (*this)("in.time_ids"),
            .classes = (*this)("in.classes"),
            .guidance = typed("in.guidance")};
  }
};

// Whom ControlNets speak to.
struct Listener final : SteerableTransformer {
  using SteerableTransformer::predict;
  Tensor predict(const Tensor&, const Tensor&, const Conditioning&, const LayerAdditions&) const override { return {}; }
  Tensor tokens(const Tensor&) const override { return {}; }
  LayerCounts layers() const override { return {2, 2}; }
};

class ResidencyTest : public testing::Test {
 protected:
  const c10::InferenceMode inference_;
  std::shared_ptr<OffloadDevice> device_ = std::make_shared<OffloadDevice>(kSecondDevice);

  std::shared_ptr<Residency> own() const { return std::make_shared<Residency>(device_); }
  // double, for which no layout of the weights is the CPU's own
  static Weights weights(const Fixture& f, std::shared_ptr<Residency> residency) {
    const at::Device device = residency ? kSecondDevice : at::kCPU;
    return test::open_weights({f.file().path()}, device, at::kDouble).in(std::move(residency)) / "w";
  }

  template <class Network, class NetworkConfig>
  static Worker worker(const char* fixture, std::shared_ptr<Residency> residency,
                       const std::function<Tensor(const Network&, const Inputs&)>& work) {
    const auto f = std::make_shared<const Fixture>(std::string("layers/") + fixture);
    const auto config = NetworkConfig::from(f->config());
    const auto network = std::make_shared<Network>(weights(*f, std::move(residency)), config);
    return {fixture, network,
            [=] {
              return work(*network, {*f, kSecondDevice});
            },
            work(Network(weights(*f, nullptr), config), {*f, at::kCPU})};
  }
  template <class Network, class NetworkConfig>
  static Worker backbone(const char* fixture, std::shared_ptr<Residency> residency) {
    return worker<Network, NetworkConfig>(fixture, std::move(residency), [](const Network& net, const Inputs& in) {
      const Tensor x = in("in.sample");
      return net.predict(x, at::full({x.size(0)}, 7, x.options()), in.conditioning());
    });
  }
  static Worker unet(std::shared_ptr<Residency> residency) {
    return backbone<UNet, UNetConfig>("unet-sdxl", std::move(residency));
  }
  Worker controlnet() const {
    return worker<ControlNet, ControlNetConfig>("controlnet-sd", own(), [](const ControlNet& net, const Inputs& in) {
      const Tensor picture = net.embed(in("in.picture"));
      const Tensor x = in("in.sample");
      return net.forward(x, at::full({x.size(0)}, 7, x.options()), in.conditioning(), picture, 1, /*rising=*/false).mid;
    });
  }
  template <class Network, class NetworkConfig>
  Worker transformer_controlnet(const char* fixture) const {
    return worker<Network, NetworkConfig>(fixture, own(), [](const Network& net, const Inputs& in) {
      const Tensor x = in("in.sample");
      const Tensor t = at::full({x.size(0)}, 7, x.options());
      return net.samples({x, t, in.conditioning(), in("in.picture"), 1}, Listener()).samples.back();
    });
  }
  Worker adapter(const std::shared_ptr<Residency>& residency) const {
    return worker<T2IAdapter, T2IAdapterConfig>("adapter-full", residency, [](const T2IAdapter& net, const Inputs& in) {
      return net.features(in("in.picture")).back();
    });
  }
  Worker encoder() const {
    return worker<Vae, VaeConfig>("vae-sd", own(),
                                  [](const Vae& net, const Inputs& in) { return net.encode(in("in.image"), {}); });
  }
  Worker decoder() const {
    return worker<Vae, VaeConfig>("vae-sd", own(),
                                  [](const Vae& net, const Inputs& in) { return net.decode(in("in.latents")); });
  }
  Worker tiles() const {
    return worker<Vae, VaeConfig>("vae-sd", own(), [](const Vae& net, const Inputs& in) {
      const std::int64_t side = in("in.latents").size(2);
      const Tensor moved = net.encode_in_tiles(in("in.image").repeat({1, 1, 2, 1}), side).mean;
      return net.decode_in_tiles(moved, side);
    });
  }
  Worker text() const {
    return worker<ClipText, ClipTextConfig>("clip-projection", own(), [](const ClipText& net, const Inputs& in) {
      return net.forward(in("in.ids")).pooled;
    });
  }
  Worker t5() const {
    return worker<T5, T5Config>("t5", own(), [](const T5& net, const Inputs& in) { return net.forward(in("in.ids")); });
  }
  std::vector<Worker> all() const {
    return {unet(own()),
            controlnet(),
            transformer_controlnet<Sd3ControlNet, Sd3ControlNetConfig>("sd3-controlnet-net"),
            transformer_controlnet<FluxControlNet, FluxControlNetConfig>("flux-controlnet-union"),
            transformer_controlnet<FluxControlNet, FluxControlNetConfig>("flux-controlnet-folded"),
            adapter(own()),
            text(),
            encoder(),
            decoder(),
            tiles(),
            t5(),
            backbone<Sd3Transformer, Sd3Config>("sd35", own()),
            backbone<FluxTransformer, FluxConfig>("flux", own()),
            backbone<PixArtTransformer, PixArtConfig>("pixart", own()),
            backbone<DiTTransformer, DiTConfig>("dit", own()),
            backbone<ZImageTransformer, ZImageConfig>("z-image", own()),
            backbone<Lumina2Transformer, Lumina2Config>("lumina2", own())};
  }
};

TEST_F(ResidencyTest, WhoWorksIsThereAndTheOthersAreAtHome) {
  const std::vector<Worker> workers = all();
  std::vector<std::vector<Tensor>> before;
  for (const Worker& worker : workers) {
    EXPECT_TRUE(worker.all_on(at::kCPU)) << worker.name;
    auto& copies = before.emplace_back();
    for (const Tensor& weight : worker.network->parameters()) copies.push_back(weight.clone());
  }
  for (int round = 0; round < 2; ++round)
    for (const Worker& worker : workers) {
      worker.expect_right_numbers();
      for (const Worker& other : workers)
        EXPECT_TRUE(other.all_on(&worker == &other ? kSecondDevice : at::kCPU))
            << other.name << " while the " << worker.name << " works";
    }
  Residency(device_).begin();  // no network's: all weights go back to the host
  for (std::size_t i = 0; i < workers.size(); ++i) {
    const auto after = workers[i].network->parameters();
    ASSERT_EQ(after.size(), before[i].size());
    for (std::size_t j = 0; j < after.size(); ++j) EXPECT_TRUE(at::equal(after[j], before[i][j])) << workers[i].name;
  }
}

TEST_F(ResidencyTest, ThoseOfOneTurnAreThereTogether) {
  const auto together = own();
  const Worker net = unet(together), beside = adapter(together), other = text();
  beside.expect_right_numbers();
  EXPECT_TRUE(net.all_on(kSecondDevice));
  net.expect_right_numbers();
  EXPECT_TRUE(beside.all_on(kSecondDevice));
  other.expect_right_numbers();
  EXPECT_TRUE(net.all_on(at::kCPU) && beside.all_on(at::kCPU));
}

TEST_F(ResidencyTest, LayersFetchTheirWeightsWhereANetworkIsTooLarge) {
  const std::vector<Worker> workers = all();
  workers[0].work();
  EXPECT_TRUE(workers[0].all_on(kSecondDevice));
  device_->set_layer_by_layer(true);
  for (const Worker& worker : workers) {
    EXPECT_TRUE(worker.all_on(at::kCPU)) << worker.name;
    worker.expect_right_numbers();
    EXPECT_TRUE(worker.all_on(at::kCPU)) << worker.name;
  }
}

TEST_F(ResidencyTest, WordsOfTextualInversionsComeAlong) {
  const Fixture f("layers/clip-quick-gelu");
  const ClipTextConfig config = ClipTextConfig::from(f.config());
  const Tensor words = at::ones({2, config.width});
  const ClipText net(weights(f, own()), config, words);
  const Tensor ids = at::full({1, 3}, config.vocab_size + 1, at::kLong);
  net.forward(ids.to(kSecondDevice));
  Residency(device_).begin();
  const Tensor table = net.named_parameters()["embeddings.token_embedding.weight"];
  EXPECT_EQ(table.size(0), config.vocab_size + 2);
  EXPECT_TRUE(at::equal(table.narrow(0, config.vocab_size, 2).to(at::kFloat), words));
}

TEST_F(ResidencyTest, LowRankTermsComeAlong) {
  const Fixture f("layers/unet-sdxl");
  const std::string name = "mid_block.attentions.0.proj_in";
  const Tensor x = f.tensor("w." + name + ".weight").to(at::kDouble);           // any numbers [n, in]
  const LowRank term{at::ones({1, x.size(1)}), at::ones({x.size(0), 1}), 0.5};  // float32, on the CPU
  const auto layer = [&](const Weights& w) {
    return Linear(w.adding([&](const std::string&) { return std::vector{term}; }) / name, x.size(1), x.size(0));
  };
  const auto residency = own();
  const Linear here = layer(weights(f, nullptr)), there = layer(weights(f, residency));
  const Tensor right = here.forward(x);
  EXPECT_GT((right - Linear(weights(f, nullptr) / name, x.size(1), x.size(0)).forward(x)).abs().max().item<double>(),
            0.1);
  for (const bool whole : {false, true}) {
    if (whole) residency->begin();
    const Tensor answer = there.forward(x.to(kSecondDevice));
    EXPECT_EQ(answer.device(), kSecondDevice);
    test::expect_close(answer.cpu(), right, 1e-12, whole ? "whole" : "layer by layer");
  }
}

TEST_F(ResidencyTest, WhoLearnsDoesNotTakeTurns) {
  const Fixture f("layers/vae-sd");
  const Weights w = weights(f, own()).keeping(Keep::trainable) / "decoder.conv_in";
  EXPECT_CONTAINS(message_of(Fault::internal, [&] { Conv2d(w, 4, f.tensor("w.decoder.conv_in.bias").size(0)); }),
                  "learns");
}

TEST_F(ResidencyTest, ANetworkThatIsGoneIsNotSentHome) {
  {
    const Worker gone = decoder();
    gone.work();
  }
  unet(own()).expect_right_numbers();
}

TEST_F(ResidencyTest, WhoDoesNotFitLeavesNothingBehind) {
  const Worker large = unet(own()), small = text();
  small.expect_right_numbers();
  {
    const test::LimitedMemory limit(1000);  // bytes
    EXPECT_ANY_THROW(large.work());
  }
  EXPECT_TRUE(device_->was_too_small());
  EXPECT_TRUE(large.all_on(at::kCPU) && small.all_on(at::kCPU));
  large.expect_right_numbers();
}

TEST_F(ResidencyTest, ANewOneSendsHomeWhoIsThere) {
  const Worker first = text();
  first.work();
  const auto second = own();
  EXPECT_TRUE(first.all_on(at::kCPU));
}

// What is given up first when memory runs out.
TEST_F(ResidencyTest, RetreatsStepByStep) {
  MemoryFallback plain(4, /*in_tiles=*/false, nullptr);
  EXPECT_EQ(plain.next(), "2 at a time");
  EXPECT_EQ(plain.next(), "1 at a time");
  EXPECT_EQ(plain.rows(), 1u);
  EXPECT_EQ(plain.next(), "");

  MemoryFallback activations(2, false, device_);  // it is not the weights that are too many
  EXPECT_EQ(activations.next(), "1 at a time");
  EXPECT_FALSE(device_->is_layer_by_layer());
  EXPECT_EQ(activations.next(), "layer by layer");
  EXPECT_TRUE(device_->is_layer_by_layer());
  EXPECT_EQ(activations.next(), "");

  const Worker large = unet(own());
  MemoryFallback weights(2, false, device_);  // a new run begins with whole networks
  EXPECT_FALSE(device_->is_layer_by_layer());
  {
    const test::LimitedMemory limit(1000);
    EXPECT_ANY_THROW(large.work());
  }
  EXPECT_EQ(weights.next(), "layer by layer");
  large.expect_right_numbers();
  EXPECT_EQ(weights.rows(), 2u);
  EXPECT_EQ(weights.next(), "1 at a time");
  EXPECT_EQ(weights.next(), "");
}

// What the tests above rely on.
TEST_F(ResidencyTest, TensorsOfTwoDevicesDoNotMix) {
  const Fixture f("layers/vae-sd");
  const Conv2d conv(weights(f, own()) / "decoder.conv_in", 4, f.tensor("w.decoder.conv_in.bias").size(0));
  const Tensor x = f.tensor("in.latents").to(kSecondDevice, at::kDouble);
  EXPECT_EQ(conv.forward(x).device(), kSecondDevice);
  EXPECT_ANY_THROW(ops::conv2d(x, conv.weight, conv.bias, 1, 1));
  EXPECT_ANY_THROW(Tensor(x + x.cpu()));
}

// Of networks that share a turn one may go, and its weights with it.
TEST(Residency, ForgetsWhatNoNetworkHas) {
  const auto device = std::make_shared<OffloadDevice>(kSecondDevice);
  Residency residency(device);
  Tensor gone = residency.park(at::ones({3}).to(kSecondDevice));
  const Tensor stays = residency.park(at::full({3}, 2.0).to(kSecondDevice));
  const c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> weak(gone.getIntrusivePtr());
  residency.forget_unused();
  EXPECT_FALSE(weak.expired());
  gone.reset();
  residency.begin();
  residency.forget_unused();
  EXPECT_TRUE(weak.expired());
  EXPECT_TRUE(stays.device().is_cpu());
  residency.begin();
  EXPECT_EQ(stays.device(), kSecondDevice);
  EXPECT_TRUE(at::equal(stays.cpu(), at::full({3}, 2.0)));
}

}  // namespace
}  // namespace sdgen
