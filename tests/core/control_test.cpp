// The networks that steer, against diffusers': values to 1e-5.
#include <c10/core/InferenceMode.h>

#include "core/fixture.h"
#include "nn/controlled_unet.h"
#include "nn/t2i_adapter.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using test::expect_close;
using test::Fixture;

constexpr double kTolerance = 1e-5;

std::set<std::string> keys_of(const Module& network) {
  std::set<std::string> keys;
  for (const auto& [name, parameter] : network.named_parameters()) keys.insert("w." + name);
  return keys;
}

std::set<std::string> keys_of(const Fixture& f) {
  std::set<std::string> keys;
  for (const auto& [name, entry] : f.file().tensors())
    if (name.starts_with("w.")) keys.insert(name);
  return keys;
}

Conditioning conditioning_of(const Fixture& f, at::ScalarType dtype) {
  Conditioning c;
  c.context = f.tensor("in.context").to(dtype);
  if (f.has("in.text_embeds")) {
    c.pooled = f.tensor("in.text_embeds").to(dtype);
    c.size_ids = f.tensor("in.time_ids");
  }
  return c;
}

// Largest relative difference of all results.
double difference(const Fixture& f, const ControlNetConfig& config) {
  const ControlNet net(f.weights(at::kDouble), config);
  const auto got = net.forward(f.tensor("in.sample"), f.timesteps(), conditioning_of(f, at::kDouble),
                               net.embed(f.tensor("in.picture")), f.tensor("in.scale").item<double>(),
                               f.tensor("in.guess").item<std::int64_t>() != 0);
  double worst = test::relative_difference(got.mid, f.tensor("out.mid"));
  for (std::size_t i = 0; i < got.skips.size(); ++i)
    worst = std::max(worst, test::relative_difference(got.skips[i], f.tensor(concat("out.skips.", i))));
  EXPECT_FALSE(f.has(concat("out.skips.", got.skips.size())));
  return worst;
}

class ControlNetFixture : public testing::TestWithParam<const char*> {};

TEST_P(ControlNetFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/controlnet-") + GetParam());
  EXPECT_LE(difference(f, ControlNetConfig::from(f.config())), kTolerance);
}

TEST_P(ControlNetFixture, SpellsItsKeys) {
  const Fixture f(std::string("layers/controlnet-") + GetParam());
  EXPECT_EQ(keys_of(ControlNet(f.weights(), ControlNetConfig::from(f.config()))), keys_of(f));
}

INSTANTIATE_TEST_SUITE_P(Variants, ControlNetFixture, testing::Values("sd", "xl", "pooled"));

TEST(ControlNet, NoticesAWrongField) {
  const c10::InferenceMode inference;
  const auto wrong = [](const char* name, const std::function<void(ControlNetConfig&)>& mistake) {
    const Fixture f(name);
    ControlNetConfig config = ControlNetConfig::from(f.config());
    mistake(config);
    return difference(f, config);
  };
  EXPECT_GT(wrong("layers/controlnet-sd", [](auto& c) { c.bgr = false; }), 1e-3);
  EXPECT_GT(wrong("layers/controlnet-pooled", [](auto& c) { c.global_pool = false; }), 1e-3);
  EXPECT_GT(wrong("layers/controlnet-xl", [](auto& c) { c.encoder.levels[1].heads = 1; }), 1e-3);
}

TEST(ControlNetConfig, NamesWhatItDoesNotSupport) {
  const Fixture f("layers/controlnet-sd");
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"_class_name", "ControlNetUnionModel"},
                                                 {"conditioning_channels", 1},
                                                 {"controlnet_conditioning_channel_order", "rbg"},
                                                 {"conditioning_embedding_out_channels", Json::array({0})},
                                                 {"conditioning_embedding_out_channels", Json::array()},
                                                 {"mid_block_type", nullptr},
                                                 {"class_embed_type", "timestep"},
                                                 {"addition_embed_type", "text"},
                                                 {"num_attention_heads", 4},
                                                 {"encoder_hid_dim", 8}}) {
    Json json = f.config().json();
    json[key] = value;
    try {
      ControlNetConfig::from(Config(json, "net/config.json"));
      ADD_FAILURE() << key << " = " << value << " was accepted";
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_EQ(error.fault(), Fault::input);
      EXPECT_NE(text.find("net/config.json"), std::string::npos) << text;
      EXPECT_NE(text.find(key), std::string::npos) << text;
    }
  }
}

class AdapterFixture : public testing::TestWithParam<const char*> {};

TEST_P(AdapterFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/adapter-") + GetParam());
  const T2IAdapter adapter(f.weights(at::kDouble), T2IAdapterConfig::from(f.config()));
  EXPECT_EQ(keys_of(adapter), keys_of(f));
  const auto features = adapter.features(f.tensor("in.picture"));
  for (std::size_t i = 0; i < features.size(); ++i) {
    const std::string name = concat("out.features.", i);
    ASSERT_TRUE(f.has(name));
    expect_close(features[i], f.tensor(name), kTolerance, name);
  }
  EXPECT_FALSE(f.has(concat("out.features.", features.size())));
}

INSTANTIATE_TEST_SUITE_P(Variants, AdapterFixture, testing::Values("full", "xl", "light"));

TEST(T2IAdapterConfig, NamesWhatItDoesNotSupport) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{{"_class_name", "MultiAdapter"},
                                                                            {"adapter_type", "fuser"},
                                                                            {"in_channels", 4},
                                                                            {"channels", Json::array({0})},
                                                                            {"num_res_blocks", 0},
                                                                            {"downscale_factor", 0}}) {
    Json json = {{"_class_name", "T2IAdapter"}};
    json[key] = value;
    try {
      T2IAdapterConfig::from(Config(json, "adapter/config.json"));
      ADD_FAILURE() << key << " = " << value << " was accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace sdgen
