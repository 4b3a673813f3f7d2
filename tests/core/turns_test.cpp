// Networks that take turns on a device: who works is there, the others are not, and the numbers stay what they are.
#include "io/turns.h"

#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "core/second_device.h"
#include "nn/clip_text.h"
#include "nn/controlnet.h"
#include "nn/t2i_adapter.h"
#include "nn/tiny_autoencoder.h"
#include "nn/unet.h"
#include "nn/vae.h"

namespace sdgen {
namespace {

using test::Fixture;
using test::kSecondDevice;

// A network, and what it answers.
struct Guest {
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
    return {typed("in.context"), typed("in.text_embeds"), (*this)("in.time_ids"), typed("in.timestep_cond")};
  }
};

class Visits : public testing::Test {
 protected:
  const c10::InferenceMode inference_;
  std::shared_ptr<Turns> turns_ = std::make_shared<Turns>(kSecondDevice);

  std::shared_ptr<Turn> own() const { return std::make_shared<Turn>(turns_); }
  // double, for which no layout of the weights is the CPU's own
  static Weights weights(const Fixture& f, std::shared_ptr<Turn> turn) {
    return f.weights(at::kDouble).in(std::move(turn));
  }

  template <class Network, class NetworkConfig>
  static Guest guest(const char* fixture, std::shared_ptr<Turn> turn,
                     const std::function<Tensor(const Network&, const Inputs&)>& work) {
    const auto f = std::make_shared<const Fixture>(std::string("layers/") + fixture);
    const auto config = NetworkConfig::from(f->config());
    const auto network = std::make_shared<Network>(weights(*f, std::move(turn)), config);
    return {fixture, network,
            [=] {
              return work(*network, {*f, kSecondDevice});
            },
            work(Network(weights(*f, nullptr), config), {*f, at::kCPU})};
  }
  Guest unet(const std::shared_ptr<Turn>& turn) const {
    return guest<UNet, UNetConfig>("unet-sdxl", turn, [](const UNet& net, const Inputs& in) {
      return net.predict(in("in.sample"), 7, in.conditioning());
    });
  }
  Guest controlnet() const {
    return guest<ControlNet, ControlNetConfig>("controlnet-sd", own(), [](const ControlNet& net, const Inputs& in) {
      const Tensor picture = net.embed(in("in.picture"));
      return net.forward(in("in.sample"), 7, in.conditioning(), picture, 1, /*rising=*/false).mid;
    });
  }
  Guest adapter(const std::shared_ptr<Turn>& turn) const {
    return guest<T2IAdapter, T2IAdapterConfig>("adapter-full", turn, [](const T2IAdapter& net, const Inputs& in) {
      return net.features(in("in.picture")).back();
    });
  }
  Guest encoder() const {
    return guest<Vae, VaeConfig>("vae-sd", own(),
                                 [](const Vae& net, const Inputs& in) { return net.encode(in("in.image"), {}); });
  }
  Guest decoder() const {
    return guest<Vae, VaeConfig>("vae-sd", own(),
                                 [](const Vae& net, const Inputs& in) { return net.decode(in("in.latents")); });
  }
  Guest tiles() const {
    return guest<Vae, VaeConfig>("vae-sd", own(), [](const Vae& net, const Inputs& in) {
      const std::int64_t side = in("in.latents").size(2);
      const Tensor moved = net.encode_in_tiles(in("in.image").repeat({1, 1, 2, 1}), side).mean;
      return net.decode_in_tiles(moved, side);
    });
  }
  Guest text() const {
    return guest<ClipText, ClipTextConfig>("clip-projection", own(), [](const ClipText& net, const Inputs& in) {
      return net.forward(in("in.ids")).pooled;
    });
  }
  std::vector<Guest> all() const {
    return {unet(own()), controlnet(), adapter(own()), text(), encoder(), decoder(), tiles()};
  }
};

TEST_F(Visits, WhoWorksIsThereAndTheOthersAreAtHome) {
  const std::vector<Guest> guests = all();
  std::vector<std::vector<Tensor>> before;
  for (const Guest& guest : guests) {
    EXPECT_TRUE(guest.all_on(at::kCPU)) << guest.name;
    auto& copies = before.emplace_back();
    for (const Tensor& weight : guest.network->parameters()) copies.push_back(weight.clone());
  }
  for (int round = 0; round < 2; ++round)
    for (const Guest& guest : guests) {
      guest.expect_right_numbers();
      for (const Guest& other : guests)
        EXPECT_TRUE(other.all_on(&guest == &other ? kSecondDevice : at::kCPU))
            << other.name << " while the " << guest.name << " works";
    }
  Turn(turns_).begin();  // nobody's: all go home
  for (std::size_t i = 0; i < guests.size(); ++i) {
    const auto after = guests[i].network->parameters();
    ASSERT_EQ(after.size(), before[i].size());
    for (std::size_t j = 0; j < after.size(); ++j) EXPECT_TRUE(at::equal(after[j], before[i][j])) << guests[i].name;
  }
}

TEST_F(Visits, ThoseOfOneTurnAreThereTogether) {
  const auto together = own();
  const Guest net = unet(together), beside = adapter(together), other = text();
  beside.expect_right_numbers();
  EXPECT_TRUE(net.all_on(kSecondDevice));
  net.expect_right_numbers();
  EXPECT_TRUE(beside.all_on(kSecondDevice));
  other.expect_right_numbers();
  EXPECT_TRUE(net.all_on(at::kCPU) && beside.all_on(at::kCPU));
}

TEST_F(Visits, LayersFetchTheirWeightsWhereANetworkIsTooLarge) {
  const std::vector<Guest> guests = all();
  guests[0].work();
  EXPECT_TRUE(guests[0].all_on(kSecondDevice));
  turns_->layer_by_layer();
  for (const Guest& guest : guests) {
    EXPECT_TRUE(guest.all_on(at::kCPU)) << guest.name;
    guest.expect_right_numbers();
    EXPECT_TRUE(guest.all_on(at::kCPU)) << guest.name;
  }
}

TEST_F(Visits, WordsOfTextualInversionsComeAlong) {
  const Fixture f("layers/clip-quick-gelu");
  const ClipTextConfig config = ClipTextConfig::from(f.config());
  const Tensor words = at::ones({2, config.width});
  const ClipText net(weights(f, own()), config, words);
  const Tensor ids = at::full({1, 3}, config.vocab_size + 1, at::kLong);
  net.forward(ids.to(kSecondDevice));
  Turn(turns_).begin();
  const Tensor table = net.named_parameters()["embeddings.token_embedding.weight"];
  EXPECT_EQ(table.size(0), config.vocab_size + 2);
  EXPECT_TRUE(at::equal(table.narrow(0, config.vocab_size, 2).to(at::kFloat), words));
}

TEST_F(Visits, ANetworkThatIsGoneIsNotSentHome) {
  {
    const Guest gone = decoder();
    gone.work();
  }
  unet(own()).expect_right_numbers();
}

// What the tests above rely on.
TEST_F(Visits, TensorsOfTwoDevicesDoNotMix) {
  const Fixture f("layers/vae-sd");
  const Conv2d conv(weights(f, own()) / "decoder.conv_in", 4, f.tensor("w.decoder.conv_in.bias").size(0));
  const Tensor x = f.tensor("in.latents").to(kSecondDevice, at::kDouble);
  EXPECT_EQ(conv.forward(x).device(), kSecondDevice);
  EXPECT_ANY_THROW(ops::conv2d(x, conv.weight, conv.bias, 1, 1));
  EXPECT_ANY_THROW(Tensor(x + x.cpu()));
}

}  // namespace
}  // namespace sdgen
