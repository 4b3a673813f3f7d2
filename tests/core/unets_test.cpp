// U-Nets against diffusers', layer values to 1e-5.
#include <c10/core/InferenceMode.h>

#include "base/scratch.h"
#include "core/layers.h"
#include "nn/unet.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using test::conditioning_of;
using test::expect_all_read;
using test::expect_close;
using test::Fixture;
using test::kLayerTolerance;
using test::test_name;
using test::with_old_names;

class UNetFixture : public testing::TestWithParam<const char*> {};

// Computed in float64, so that the reference's float32 rounding (up to 8e-6 in these random networks) is the only one;
// whole pictures compare float32 with float32.
TEST_P(UNetFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/unet-") + GetParam());
  const UNet unet(f.weights(at::kDouble), UNetConfig::from(f.config()));
  expect_close(unet.predict(f.tensor("in.sample"), f.timesteps(), conditioning_of(f, at::kDouble)),
               f.tensor("out.sample"), kLayerTolerance, GetParam());
}

TEST_P(UNetFixture, ReadsEveryTensorAndSpellsItsKeys) {
  const Fixture f(std::string("layers/unet-") + GetParam());
  const Weights w = f.weights();
  const UNet unet(w, UNetConfig::from(f.config()));
  std::set<std::string> keys, expected;
  for (const auto& [name, parameter] : unet.named_parameters()) keys.insert("w." + name);
  for (const auto& [name, entry] : f.file().tensors())
    if (name.starts_with("w.")) expected.insert(name);
  EXPECT_EQ(keys, expected);
}

INSTANTIATE_TEST_SUITE_P(Variants, UNetFixture,
                         testing::Values("sd1", "sd2", "sdxl", "refiner", "ssd1b", "lists", "no-mid", "odd-size",
                                         "scale-shift", "time-cond"),
                         test_name);

// A mistake in one field of the config must show.
TEST(UNet, NoticesAWrongField) {
  const c10::InferenceMode inference;
  const Fixture f("layers/unet-sd1");
  const at::Tensor expected = f.tensor("out.sample");
  const Conditioning conditioning{.context = f.tensor("in.context")};
  const auto difference = [&](const std::function<void(UNetConfig&)>& mistake) {
    UNetConfig config = UNetConfig::from(f.config());
    mistake(config);
    const UNet unet(f.weights(), config);
    return test::relative_difference(unet.predict(f.tensor("in.sample"), f.timesteps(), conditioning), expected);
  };
  EXPECT_LE(difference([](UNetConfig&) {}), kLayerTolerance);
  EXPECT_GT(difference([](UNetConfig& c) { c.flip_sin_to_cos = !c.flip_sin_to_cos; }), 1e-3);
  EXPECT_GT(difference([](UNetConfig& c) { c.freq_shift += 1; }), 1e-3);
  EXPECT_GT(difference([](UNetConfig& c) { c.resnet.norm_eps = 0.1; }), 1e-3);
  EXPECT_GT(difference([](UNetConfig& c) { c.resnet.act = activation("relu", ""); }), 1e-3);
  EXPECT_GT(difference([](UNetConfig& c) { c.mid_scale = 2; }), 1e-3);
  EXPECT_GT(difference([](UNetConfig& c) { c.resnet.norm_groups /= 2; }), 1e-3);
  EXPECT_GT(difference([](UNetConfig& c) { c.center_input = true; }), 1e-3);
}

TEST(UNetConfig, NamesWhatItDoesNotSupport) {
  for (const char* name : {"class-projection", "class-table", "encoder-hid"}) {
    const Fixture f(std::string("layers/unet-") + name);
    EXPECT_CONTAINS(message_of(Fault::input, [&] { UNetConfig::from(f.config()); }),
                    name == std::string("encoder-hid") ? "encoder_hid_dim" : "class_embed");
  }
  const auto message = [](Json json) {
    try {
      UNetConfig::from(Config(std::move(json), "unet/config.json"));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input);
      return std::string(error.what());
    }
    return std::string();
  };
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"dual_cross_attention", true},
           {"time_embedding_type", "fourier"},
           {"down_block_types", {"AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"}},
           {"block_out_channels", {8, 16}},
           {"resnet_time_scale_shift", "spatial"},
           {"act_fn", "tanh"},
           {"mid_block_type", "UNetMidBlock2DSimpleCrossAttn"},
           {"addition_embed_type", "image"},
           {"layers_per_block", -1},
           {"layers_per_block", 1000000000},
           {"sample_size", 4294967300},
           {"downsample_padding", -1},
           {"conv_in_kernel", 4}}) {
    const std::string text = message({{key, value}});
    EXPECT_NE(text.find("unet/config.json"), std::string::npos) << key << ": " << text;
    EXPECT_TRUE(key == "block_out_channels" || text.find(key) != std::string::npos) << text;
  }
  EXPECT_EQ(message(Json::object()), "");
}

TEST(UNet, NamesTheTensorThatDoesNotFit) {
  const Fixture f("layers/unet-sd1");
  UNetConfig config = UNetConfig::from(f.config());
  config.in_channels += 5;
  try {
    UNet(f.weights(), config);
    FAIL() << "a misshapen conv_in was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::input);
    EXPECT_NE(std::string(error.what()).find("conv_in.weight"), std::string::npos) << error.what();
  }
}

class UNet2DFixture : public testing::TestWithParam<const char*> {};

TEST_P(UNet2DFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/unet2d-") + GetParam());
  const UNet unet(with_old_names(f, f.weights(at::kDouble)), UNetConfig::unconditional(f.config()));
  expect_close(unet.predict(f.tensor("in.sample"), f.timesteps(), {}), f.tensor("out.sample"), kLayerTolerance,
               GetParam());
}

TEST_P(UNet2DFixture, ReadsEveryTensor) {
  const Fixture f(std::string("layers/unet2d-") + GetParam());
  const Weights w = with_old_names(f, f.weights());
  const UNet unet(w, UNetConfig::unconditional(f.config()));
  expect_all_read(w);
}

INSTANTIATE_TEST_SUITE_P(Variants, UNet2DFixture,
                         testing::Values("plain", "attention", "old-names", "scale-shift", "mid-norm", "no-mid"),
                         test_name);

TEST(UNet2D, NoticesAWrongField) {
  const c10::InferenceMode inference;
  const auto difference = [](const char* name, const std::function<void(UNetConfig&)>& mistake) {
    const Fixture f(name);
    UNetConfig config = UNetConfig::unconditional(f.config());
    mistake(config);
    const UNet unet(f.weights(), config);
    return test::relative_difference(unet.predict(f.tensor("in.sample"), f.timesteps(), {}), f.tensor("out.sample"));
  };
  constexpr const char *attention = "layers/unet2d-attention", *plain = "layers/unet2d-plain";
  EXPECT_LE(difference(attention, [](UNetConfig&) {}), kLayerTolerance);
  EXPECT_GT(difference(attention, [](UNetConfig& c) { c.levels[0].heads = 1; }), 1e-3);
  EXPECT_GT(difference(attention, [](UNetConfig& c) { c.mid_scale = 1; }), 1e-3);
  EXPECT_GT(difference(attention, [](UNetConfig& c) { c.center_input = false; }), 1e-3);
  EXPECT_GT(difference(attention, [](UNetConfig& c) { c.flip_sin_to_cos = !c.flip_sin_to_cos; }), 1e-3);
  EXPECT_GT(difference(plain, [](UNetConfig& c) { c.out_act = c.resnet.act; }), 1e-3);
  EXPECT_GT(difference(plain, [](UNetConfig& c) { c.time_mid_act = c.resnet.act; }), 1e-3);
  EXPECT_GT(difference("layers/unet2d-mid-norm", [](UNetConfig& c) { c.mid_norm_groups = 2; }), 1e-3);
  EXPECT_GT(difference("layers/unet2d-no-mid", [](UNetConfig& c) { c.downsample_padding = 1; }), 1e-3);
}

TEST(UNet2DConfig, NamesWhatItDoesNotSupport) {
  const auto message = [](const Json& change) {
    Json json = {{"sample_size", 32}};
    json.update(change);
    try {
      UNetConfig::unconditional(Config(std::move(json), "unet/config.json"));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(Json::object()), "");
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"sample_size", nullptr},
           {"sample_size", 4294967300},
           {"time_embedding_type", "fourier"},
           {"time_embedding_type", "learned"},
           {"time_embedding_dim", -4},
           {"class_embed_type", "timestep"},
           {"num_class_embeds", 10},
           {"downsample_type", "resnet"},
           {"upsample_type", "resnet"},
           {"resnet_time_scale_shift", "spatial"},
           {"mid_block_type", "UNetMidBlock2DCrossAttn"},
           {"down_block_types", {"SkipDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"}},
           {"up_block_types", {"UpBlock2D", "UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"}},
           {"down_block_types", {"DownBlock2D"}},
           {"block_out_channels", Json::array()},
           {"block_out_channels", {32, 64, 64, -64}},
           {"attention_head_dim", 0},
           {"attention_head_dim", 5},
           {"attn_norm_num_groups", 0},
           {"layers_per_block", 1000000000},
           {"downsample_padding", 2},
           {"act_fn", "tanh"},
           {"_class_name", "UNet2DConditionModel"}}) {
    const std::string text = message({{key, value}});
    EXPECT_NE(text.find("unet/config.json"), std::string::npos) << key << ": " << text;
    EXPECT_NE(text.find(key), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace sdgen
