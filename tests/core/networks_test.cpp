// Every network against diffusers' and transformers', layer values to 1e-5.
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "base/scratch.h"
#include "core/fixture.h"
#include "formats/original_layout.h"
#include "nn/chroma_transformer.h"
#include "nn/clip_text.h"
#include "nn/decoder_text.h"
#include "nn/dit_transformer.h"
#include "nn/flux2_transformer.h"
#include "nn/flux_transformer.h"
#include "nn/lumina2_transformer.h"
#include "nn/pixart_transformer.h"
#include "nn/qwen_transformer.h"
#include "nn/qwen_vae.h"
#include "nn/replayed.h"
#include "nn/sd3_transformer.h"
#include "nn/t5.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "nn/z_image_transformer.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using test::expect_close;
using test::Fixture;

constexpr double kTolerance = 1e-5;

std::string test_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Folders from before diffusers 0.17 have other names in the pixels' attention.
Weights with_old_names(const Fixture& f, const Weights& w) {
  for (const auto& [name, entry] : f.file().tensors())
    if (name.ends_with(".proj_attn.weight")) return w.map(old_attention_name);
  return w;
}

class UNetFixture : public testing::TestWithParam<const char*> {};

// Computed in float64, so that the reference's float32 rounding (up to 8e-6 in these random networks) is the only one;
// whole pictures compare float32 with float32.
TEST_P(UNetFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/unet-") + GetParam());
  const UNet unet(f.weights(at::kDouble), UNetConfig::from(f.config()));
  Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble)};
  if (f.has("in.text_embeds")) {
    conditioning.pooled = f.tensor("in.text_embeds").to(at::kDouble);
    conditioning.size_ids = f.tensor("in.time_ids").to(at::kFloat);
  }
  if (f.has("in.guidance")) conditioning.guidance = f.tensor("in.guidance").to(at::kDouble);
  expect_close(unet.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               GetParam());
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

// A recorder that runs again what it was given, as a CUDA graph does, and knows no more: what a call depends on must be
// among the recorded inputs.
TEST(Replayed, RecordedCallsAreItsOwn) {
  const c10::InferenceMode inference;
  int recorded = 0, replayed = 0;
  for (const char* name : {"unet-sd1", "unet-sdxl", "unet-time-cond"}) {
    const Fixture f(std::string("layers/") + name);
    const auto plain = std::make_shared<const UNet>(f.weights(), UNetConfig::from(f.config()));
    const Replayed replaying(plain, [&](const std::function<void()>& run) {
      ++recorded;
      run();
      return [&replayed, run] {
        ++replayed;
        run();
      };
    });
    const auto first = [&](const char* key) { return f.has(key) ? f.tensor(key) : Tensor(); };
    for (int call = 0; call < 12; ++call) {
      const std::int64_t rows = 1 + call % 2;  // two shapes
      const auto of_call = [&](const char* key) {
        const Tensor x = first(key);
        return x.defined() ? (x.narrow(0, 0, rows) * (1 + 0.1 * call)).contiguous() : x;
      };
      const Conditioning conditioning{.context = of_call("in.context"),
                                      .pooled = of_call("in.text_embeds"),
                                      .size_ids = of_call("in.time_ids"),
                                      .guidance = of_call("in.guidance")};
      const Tensor x = of_call("in.sample"), t = test::times(x, 80.0 * call);
      EXPECT_TRUE(at::equal(replaying.predict(x, t, conditioning), plain->predict(x, t, conditioning)))
          << name << ", call " << call;
    }
  }
  EXPECT_EQ(recorded, 3 * 2);
  EXPECT_EQ(replayed, 3 * 12);
}

TEST(Replayed, WhatCannotBeRecordedIsRun) {
  const c10::InferenceMode inference;
  const Fixture f("layers/unet-sd1");
  const auto unet = std::make_shared<const UNet>(f.weights(), UNetConfig::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context")};
  const Tensor x = f.tensor("in.sample"), right = unet->predict(x, test::times(x, 7), conditioning);
  int tried = 0;
  const Replayed replaying(unet, [&tried](const std::function<void()>& run) -> std::function<void()> {
    run();
    ++tried;
    TORCH_CHECK(false, "operation not permitted when stream is capturing");
  });
  for (int call = 0; call < 2; ++call)
    EXPECT_TRUE(at::equal(replaying.predict(x, test::times(x, 7), conditioning), right));
  EXPECT_EQ(tried, 1);
}

// Rows are the inverse of stacking, and no member is forgotten by either: a batch of two is its two rows.
TEST(Conditioning, RowsAndStacks) {
  Conditioning all;
  double number = 0;
  for (Tensor* member : Conditioning::members(all)) *member = at::full({2, 3}, ++number);
  for (Tensor* member : Conditioning::members(all)) (*member)[1] += 0.5;
  const std::vector<Conditioning> both{all.rows(0, 1), all.rows(1, 2)};
  const Conditioning again = Conditioning::stacked(both);
  for (std::size_t i = 0; i < Conditioning::members(all).size(); ++i) {
    EXPECT_EQ(Conditioning::members(both[1])[i]->sizes(), (std::vector<std::int64_t>{1, 3}));
    EXPECT_TRUE(at::equal(*Conditioning::members(again)[i], *Conditioning::members(all)[i])) << i;
  }
  const Conditioning nothing;
  EXPECT_FALSE(Conditioning::stacked(std::vector{nothing, nothing}).rows(0, 1).pooled.defined());
}

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
  EXPECT_LE(difference([](UNetConfig&) {}), kTolerance);
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
  expect_close(unet.predict(f.tensor("in.sample"), f.timesteps(), {}), f.tensor("out.sample"), kTolerance, GetParam());
}

TEST_P(UNet2DFixture, ReadsEveryTensor) {
  const Fixture f(std::string("layers/unet2d-") + GetParam());
  const Weights w = with_old_names(f, f.weights());
  const UNet unet(w, UNetConfig::unconditional(f.config()));
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
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
  EXPECT_LE(difference(attention, [](UNetConfig&) {}), kTolerance);
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

class Sd3Fixture : public testing::TestWithParam<const char*> {};

TEST_P(Sd3Fixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const Sd3Transformer network(w, Sd3Config::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble),
                                  .pooled = f.tensor("in.pooled").to(at::kDouble)};
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               GetParam());
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

INSTANTIATE_TEST_SUITE_P(Variants, Sd3Fixture, testing::Values("sd3", "sd35", "sd35-last"), test_name);

TEST(Sd3Transformer, RefusesPicturesThatItHasNoPositionsFor) {
  const c10::InferenceMode inference;
  const Fixture f("layers/sd3");
  const Sd3Transformer network(f.weights(), Sd3Config::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context"), .pooled = f.tensor("in.pooled")};
  const at::Tensor large = at::randn({2, 6, 8, 20});
  EXPECT_NE(message_of(Fault::usage, [&] { network.predict(large, f.timesteps(), conditioning); })
                .find("positions for 9x9 patches, and the picture has 10x4"),
            std::string::npos);
}

class FluxFixture : public testing::TestWithParam<const char*> {};

TEST_P(FluxFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const FluxTransformer network(w, FluxConfig::from(f.config()));
  Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble),
                            .pooled = f.tensor("in.pooled").to(at::kDouble)};
  if (f.has("in.guidance")) conditioning.guidance = f.tensor("in.guidance");
  if (f.has("in.reference")) conditioning.references = {f.tensor("in.reference").to(at::kDouble)};
  // diffusers turns queries and keys in float32.
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               GetParam());
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

INSTANTIATE_TEST_SUITE_P(Variants, FluxFixture, testing::Values("flux", "flux-shown"), test_name);

TEST(FluxConfig, NamesWhatItDoesNotSupport) {
  const auto config = [](const char* key, const Json& value) {
    return FluxConfig::from(Config({{key, value}}, "transformer/config.json"));
  };
  EXPECT_EQ(config("in_channels", 128).out_channels, 128);
  EXPECT_EQ(config("guidance_embeds", true).width, 3072);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"patch_size", 2},
                                                                            {"in_channels", 0},
                                                                            {"num_layers", 0},
                                                                            {"axes_dims_rope", {16, 56}},
                                                                            {"axes_dims_rope", {16, 56, 57}},
                                                                            {"axes_dims_rope", {15, 57, 56}},
                                                                            {"axes_dims_rope", {-16, 72, 72}}}) {
    const std::string text = message_of(Fault::input, [&] { config(key, value); });
    EXPECT_NE(text.find(concat("transformer/config.json: ", key)), std::string::npos) << text;
  }
}

class Flux2Fixture : public testing::TestWithParam<const char*> {};

TEST_P(Flux2Fixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const Flux2Transformer network(w, Flux2Config::from(f.config()));
  Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble)};
  if (f.has("in.guidance")) conditioning.guidance = f.tensor("in.guidance");
  for (const char* name : {"in.reference", "in.reference_2"})
    if (f.has(name)) conditioning.references.push_back(f.tensor(name).to(at::kDouble));
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               GetParam());
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

INSTANTIATE_TEST_SUITE_P(Variants, Flux2Fixture, testing::Values("flux2", "flux2-shown"), test_name);

TEST(Flux2Config, NamesWhatItDoesNotSupport) {
  const auto config = [](const char* key, const Json& value) {
    return Flux2Config::from(Config({{key, value}}, "transformer/config.json"));
  };
  EXPECT_EQ(config("in_channels", 64).out_channels, 64);
  EXPECT_EQ(config("num_attention_heads", 24).inner_width, 9216);
  EXPECT_TRUE(config("out_channels", nullptr).guidance);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"patch_size", 2},
                                                                            {"in_channels", 0},
                                                                            {"eps", 1e-5},
                                                                            {"mlp_ratio", 0},
                                                                            {"mlp_ratio", 1e-6},
                                                                            {"mlp_ratio", 1e6},
                                                                            {"rope_theta", -1},
                                                                            {"timestep_guidance_channels", 128},
                                                                            {"axes_dims_rope", {32, 48, 48}},
                                                                            {"axes_dims_rope", {32, 32, 32, 31}}}) {
    const std::string text = message_of(Fault::input, [&] { config(key, value); });
    EXPECT_TRUE(text.starts_with("transformer/config.json: ") && text.find(key) != std::string::npos) << text;
  }
}

TEST(ChromaFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f("layers/chroma");
  const Weights w = f.weights(at::kDouble);
  const ChromaTransformer network(w, ChromaConfig::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble),
                                  .context_mask = f.tensor("in.mask").to(at::kBool)};
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               "chroma");
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

TEST(ChromaConfig, NamesWhatItDoesNotSupport) {
  const auto config = [](const char* key, const Json& value) {
    return ChromaConfig::from(Config({{key, value}}, "transformer/config.json"));
  };
  EXPECT_EQ(config("in_channels", 64).moves(), 344);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"patch_size", 2},
                                                                            {"num_single_layers", 0},
                                                                            {"approximator_num_channels", 60},
                                                                            {"approximator_layers", 0},
                                                                            {"axes_dims_rope", {16, 56}}}) {
    const std::string text = message_of(Fault::input, [&] { config(key, value); });
    EXPECT_NE(text.find(concat("transformer/config.json: ", key)), std::string::npos) << text;
  }
}

// Of words that all count.
template <class Network, class NetworkConfig>
void expect_single_stream(const char* name) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + name);
  const Weights w = f.weights(at::kDouble);
  const Network network(w, NetworkConfig::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble)};
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               name);
  for (const std::string& key : w.unread()) EXPECT_FALSE(key.starts_with("w.")) << key;
}

class ZImageFixture : public testing::TestWithParam<const char*> {};
TEST_P(ZImageFixture, EqualsDiffusers) { expect_single_stream<ZImageTransformer, ZImageConfig>(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Variants, ZImageFixture, testing::Values("z-image", "z-image-full"), test_name);

TEST(ZImageConfig, NamesWhatItDoesNotSupport) {
  const auto config = [](const char* key, const Json& value) {
    return ZImageConfig::from(Config({{key, value}}, "transformer/config.json"));
  };
  EXPECT_EQ(config("n_kv_heads", 8).heads, 30) << "diffusers does not read it";
  EXPECT_FALSE(config("qk_norm", false).qk_norm);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"all_patch_size", {2, 4}},
                                                                            {"all_f_patch_size", {2}},
                                                                            {"siglip_feat_dim", 1152},
                                                                            {"dim", 0},
                                                                            {"n_heads", 31},
                                                                            {"axes_dims", {32, 48, 46}},
                                                                            {"axes_dims", {64, 64}},
                                                                            {"rope_theta", 0},
                                                                            {"t_scale", -1},
                                                                            {"n_layers", 0}}) {
    const std::string text = message_of(Fault::input, [&] { config(key, value); });
    EXPECT_TRUE(text.starts_with("transformer/config.json: ") && text.find(key) != std::string::npos) << text;
  }
}

class Lumina2Fixture : public testing::TestWithParam<const char*> {};
TEST_P(Lumina2Fixture, EqualsDiffusers) { expect_single_stream<Lumina2Transformer, Lumina2Config>(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Variants, Lumina2Fixture, testing::Values("lumina2", "lumina2-ratio"), test_name);

TEST(Lumina2Config, NamesWhatItDoesNotSupport) {
  const auto config = [](const char* key, const Json& value) {
    return Lumina2Config::from(Config({{key, value}}, "transformer/config.json"));
  };
  EXPECT_EQ(config("num_kv_heads", nullptr).kv_heads, 24);
  EXPECT_EQ(config("num_layers", 2).kv_heads, 8);
  EXPECT_EQ(config("ffn_dim_multiplier", 1.01).ff_width, 9472);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"out_channels", 8},
                                                                            {"num_attention_heads", 23},
                                                                            {"num_kv_heads", 7},
                                                                            {"multiple_of", 0},
                                                                            {"ffn_dim_multiplier", 1e9},
                                                                            {"axes_dim_rope", {32, 32, 31}}}) {
    const std::string text = message_of(Fault::input, [&] { config(key, value); });
    EXPECT_NE(text.find(concat("transformer/config.json: ", key)), std::string::npos) << text;
  }
}

class PixArtFixture : public testing::TestWithParam<const char*> {};

TEST_P(PixArtFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const PixArtTransformer network(w, PixArtConfig::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble),
                                  .context_mask = f.tensor("in.mask").to(at::kBool)};
  // A learned variance is left out.
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning),
               f.tensor("out.sample").slice(1, 0, 4), kTolerance, GetParam());
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

INSTANTIATE_TEST_SUITE_P(Variants, PixArtFixture, testing::Values("pixart", "pixart-plain"), test_name);

TEST(PixArtConfig, NamesWhatItDoesNotSupport) {
  const Json good = {{"sample_size", 64}, {"caption_channels", 4096}, {"norm_type", "ada_norm_single"}};
  const auto config = [&good](const Json& change) {
    Json json = good;
    json.update(change);
    return PixArtConfig::from(Config(std::move(json), "transformer/config.json"));
  };
  EXPECT_EQ(config(Json::object()).position_scale, 1);
  EXPECT_EQ(config({{"sample_size", 128}}).position_scale, 2) << "what older files leave out";
  EXPECT_EQ(config({{"sample_size", 32}}).position_scale, 1);
  EXPECT_FALSE(config(Json::object()).told_sizes);
  EXPECT_TRUE(config({{"sample_size", 128}}).told_sizes);
  EXPECT_FALSE(config({{"sample_size", 128}, {"use_additional_conditions", false}}).told_sizes);
  EXPECT_EQ(config(Json::object()).out_channels, 8);
  EXPECT_EQ(config({{"out_channels", nullptr}}).out_channels, 4);
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{{"caption_channels", nullptr},
                                                                            {"norm_type", "ada_norm_zero"},
                                                                            {"norm_elementwise_affine", true},
                                                                            {"activation_fn", "geglu"},
                                                                            {"out_channels", 5},
                                                                            {"cross_attention_dim", 1153},
                                                                            {"interpolation_scale", 0},
                                                                            {"patch_size", 65},
                                                                            {"num_layers", 0}}) {
    const std::string text = message_of(Fault::input, [&] { config({{key, value}}); });
    EXPECT_NE(text.find("transformer/config.json"), std::string::npos) << key << ": " << text;
    EXPECT_NE(text.find(key), std::string::npos) << text;
  }
  const Json odd = {{"attention_head_dim", 5}, {"num_attention_heads", 4}, {"cross_attention_dim", 20}};
  EXPECT_EQ(config(odd).width, 20);
  Json told = odd;
  told["use_additional_conditions"] = true;
  EXPECT_NE(message_of(Fault::input, [&] { config(told); }).find("use_additional_conditions"), std::string::npos);
}

TEST(DiTFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f("layers/dit");
  const Weights w = f.weights(at::kDouble);
  const DiTTransformer network(w, DiTConfig::from(f.config()));
  Conditioning conditioning;
  conditioning.classes = f.tensor("in.classes");
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning),
               f.tensor("out.sample").slice(1, 0, 4), kTolerance, "dit");
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

TEST(DiTConfig, NamesWhatItDoesNotSupport) {
  const auto config = [](const char* key, const Json& value) {
    Json json = {{"norm_type", "ada_norm_zero"}};
    json[key] = value;
    return DiTConfig::from(Config(std::move(json), "transformer/config.json"));
  };
  EXPECT_EQ(config("sample_size", 64).out_channels, 4);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"norm_type", "ada_norm_single"},
                                                                            {"norm_elementwise_affine", true},
                                                                            {"activation_fn", "geglu"},
                                                                            {"out_channels", 5},
                                                                            {"attention_head_dim", 0},
                                                                            {"patch_size", 3},
                                                                            {"num_embeds_ada_norm", 0}}) {
    const std::string text = message_of(Fault::input, [&] { config(key, value); });
    EXPECT_NE(text.find(concat("transformer/config.json: ", key)), std::string::npos) << text;
  }
}

class T5Fixture : public testing::TestWithParam<const char*> {};

TEST_P(T5Fixture, EqualsTransformers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const T5 encoder(w, T5Config::from(f.config()));
  expect_close(encoder.forward(f.tensor("in.ids")), f.tensor("out.states"), kTolerance, GetParam());
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

TEST(T5, TokensBehindTheSeenOnesLookAtThem) {
  const c10::InferenceMode inference;
  const Fixture f("layers/t5-seen");
  const T5 encoder(f.weights(at::kDouble), T5Config::from(f.config()));
  expect_close(encoder.forward(f.tensor("in.ids"), 20), f.tensor("out.states"), kTolerance, "states");
}

INSTANTIATE_TEST_SUITE_P(Variants, T5Fixture, testing::Values("t5", "t5-far"), test_name);

class DecoderFixture : public testing::TestWithParam<const char*> {};

// Every hidden state, of tokens and of padding.
TEST_P(DecoderFixture, EqualsTransformers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const DecoderTextConfig config = DecoderTextConfig::from(f.config());
  std::vector<std::int64_t> states;
  for (std::int64_t i = 0; i <= config.layers; ++i) states.push_back(i);
  const DecoderText encoder(w, config.giving(states, "the test"));
  const Tensor all = encoder.forward(f.tensor("in.ids"), f.tensor("in.counted").item<std::int64_t>());
  for (const std::int64_t i : states)
    expect_close(all.slice(2, i * config.width, (i + 1) * config.width), f.tensor(concat("out.hidden_states.", i)),
                 kTolerance, concat(GetParam(), ", state ", i));
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

TEST_P(DecoderFixture, ReadsTheLayersThatItNeeds) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/") + GetParam());
  const Weights w = f.weights(at::kDouble);
  const DecoderText encoder(w, DecoderTextConfig::from(f.config()).giving({-2, 1}, "the test"));
  const Tensor all = encoder.forward(f.tensor("in.ids").slice(1, 0, 7), 7);
  const std::int64_t width = encoder.config().width;
  expect_close(all.slice(2, 0, width), f.tensor("out.hidden_states.2").slice(1, 0, 7), kTolerance, "-2");
  expect_close(all.slice(2, width), f.tensor("out.hidden_states.1").slice(1, 0, 7), kTolerance, "1");
  std::size_t unread = 0;
  for (const std::string& name : w.unread()) {
    if (!name.starts_with("w.")) continue;
    EXPECT_TRUE(name.starts_with("w.layers.2.") || name == "w.norm.weight") << name;
    ++unread;
  }
  EXPECT_GE(unread, 12u);
}

TEST(DecoderText, RefusesStatesThatItDoesNotHave) {
  const Fixture f("layers/qwen3");
  const DecoderTextConfig config = DecoderTextConfig::from(f.config());
  for (const std::int64_t state : {-5, 4}) {
    const std::string text = message_of(Fault::input, [&] { (void)config.giving({state}, "config.json"); });
    EXPECT_NE(text.find(concat("hidden state ", state, " of its text encoder, which has 3 layers")), std::string::npos)
        << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, DecoderFixture, testing::Values("qwen3", "qwen3-biased", "qwen2-5", "gemma2"),
                         test_name);

TEST(QwenImageFixture, EqualsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-image");
  const Weights w = f.weights(at::kDouble);
  const QwenImageTransformer network(w, QwenImageConfig::from(f.config()));
  const Conditioning conditioning{.context = f.tensor("in.context").to(at::kDouble)};
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning), f.tensor("out.sample"), kTolerance,
               "sample");
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

TEST(QwenVaeFixture, DecodesAndEncodesAsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-vae");
  const Weights w = f.weights(at::kDouble);
  const QwenVae vae(w, QwenVaeConfig::from(f.config()));
  expect_close(vae.decode(f.tensor("in.latents")), f.tensor("out.image"), kTolerance, "image");
  expect_close(vae.encode(f.tensor("in.image"), {}), f.tensor("out.loop"), kTolerance, "latents");
  for (const std::string& name : w.unread()) EXPECT_FALSE(name.starts_with("w.")) << name;
}

TEST(QwenVaeFixture, DecodesTilesWithoutSeams) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-vae");
  const QwenVae vae(f.weights(), QwenVaeConfig::from(f.config()));
  at::manual_seed(3);
  const Tensor latents = at::randn({2, 4, 37, 43});
  const Tensor whole = vae.decode(latents);
  expect_close(vae.decode_in_tiles(latents, 16), whole, 1e-4, "tiles");
  EXPECT_TRUE(at::equal(vae.decode_in_tiles(latents, 43), whole));
  EXPECT_FALSE(at::allclose(vae.decode(latents.narrow(3, 0, 16)), whole.narrow(3, 0, 64), 0, 1e-2));
}

TEST(QwenVaeFixture, DrawsFromItsPosterior) {
  const c10::InferenceMode inference;
  const Fixture f("layers/qwen-vae");
  const QwenVae vae(f.weights(at::kDouble), QwenVaeConfig::from(f.config()));
  const Tensor picture = f.tensor("in.image"), mean = vae.encode(picture, {});
  const auto drawn = [&](double noise) { return vae.encode(picture, [&] { return at::full(mean.sizes(), noise); }); };
  expect_close(drawn(0), mean, 1e-6, "no noise");
  expect_close(drawn(2) - mean, 2 * (drawn(1) - mean), kTolerance, "twice the noise");
  EXPECT_GT((drawn(1) - mean).min().item<double>(), 0);
}

class ClipFixture : public testing::TestWithParam<const char*> {};

TEST_P(ClipFixture, EqualsTransformers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/clip-") + GetParam());
  const ClipText encoder(f.weights(), ClipTextConfig::from(f.config()));
  const ClipText::Output output = encoder.forward(f.tensor("in.ids"));
  expect_close(output.last, f.tensor("out.last"), kTolerance, "last");
  for (std::size_t k = 0; k < output.hidden.size(); ++k)
    if (const std::string name = concat("out.hidden_states.", k); f.has(name))
      expect_close(output.hidden[k], f.tensor(name), kTolerance, name);
  expect_close(output.pooled, f.tensor(f.has("out.text_embeds") ? "out.text_embeds" : "out.pooled"), kTolerance,
               "pooled");
}

INSTANTIATE_TEST_SUITE_P(Variants, ClipFixture,
                         testing::Values("quick-gelu", "gelu", "projection", "legacy-eos", "open-clip"), test_name);

VaeConfig vae_config(const Fixture& f) {
  return f.config().has("batch_norm_eps") ? VaeConfig::flux2(f.config()) : VaeConfig::from(f.config());
}

class VaeFixture : public testing::TestWithParam<const char*> {};

TEST_P(VaeFixture, DecodesAndEncodesAsDiffusers) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/vae-") + GetParam());
  const Vae vae(with_old_names(f, f.weights()), vae_config(f));
  // The shifted one's are the loop's.
  const Tensor latents = f.tensor("in.latents");
  expect_close(vae.decode(f.has("out.loop") ? latents : latents * vae.config().scaling_factor), f.tensor("out.image"),
               kTolerance, "image");
  const Vae::Posterior posterior = vae.encode(f.tensor("in.image"));
  const auto moments = f.tensor("out.moments").chunk(2, 1);
  expect_close(posterior.mean, moments[0], kTolerance, "mean");
  if (f.has("out.loop"))
    expect_close(vae.encode(f.tensor("in.image"), {}), f.tensor("out.loop"), kTolerance, "shifted and scaled");
  expect_close(posterior.log_variance, moments[1].clamp(-30.0, 20.0), kTolerance, "log variance");
}

// A picture whose left and right differ so that norms of the tiles' own would show.
TEST_P(VaeFixture, DecodesTilesWithoutSeams) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/vae-") + GetParam());
  const Vae vae(with_old_names(f, f.weights()), vae_config(f));
  at::manual_seed(3);
  const Tensor contrast = at::arange(0.2, 3.1, 0.1).narrow(0, 0, 29).view({1, 1, 1, -1});
  const AutoencoderInfo info = vae.config().info();
  const Tensor latents = at::randn({2, info.latent_channels, 21, 29}) * contrast + contrast;
  const Tensor whole = vae.decode(latents), tiles = vae.decode_in_tiles(latents, 8);
  constexpr double one = 2.0 / 255;  // of 255 levels from -1 to 1
  const double range = (whole.max() - whole.min()).item<double>();
  EXPECT_LE((tiles - whole).abs().max().item<double>(), one * range / 2);
  EXPECT_TRUE(at::equal(vae.decode_in_tiles(latents, 29 * vae.config().patch), whole));
  const std::int64_t pixels = 8 * info.factor;
  const Tensor alone = vae.decode(latents.narrow(3, 0, 8));
  EXPECT_GT((alone - whole.narrow(3, 0, pixels)).abs().max().item<double>(), 10 * one);
  EXPECT_TRUE(at::equal(vae.decode(latents), whole));  // the norms are themselves again
}

TEST_P(VaeFixture, EncodesTilesWithoutSeams) {
  const c10::InferenceMode inference;
  const Fixture f(std::string("layers/vae-") + GetParam());
  const Vae vae(with_old_names(f, f.weights()), vae_config(f));
  at::manual_seed(4);
  const std::int64_t factor = vae.config().factor(), height = 41 * factor, width = 53 * factor;
  const Tensor contrast = at::linspace(0.1, 1, width).view({1, 1, 1, -1});
  const Tensor pictures = at::randn({2, 3, height, width}) * contrast + (contrast - 0.5);
  const Vae::Posterior whole = vae.encode(pictures), tiles = vae.encode_in_tiles(pictures, 16);
  const double deviation = whole.mean.std().item<double>();
  EXPECT_LE((tiles.mean - whole.mean).abs().max().item<double>(), 0.02 * deviation);
  EXPECT_LE((tiles.log_variance - whole.log_variance).abs().max().item<double>(),
            0.02 * whole.log_variance.std().item<double>());
  EXPECT_TRUE(at::equal(vae.encode_in_tiles(pictures, 53).mean, whole.mean));
  const Tensor alone = vae.encode(pictures.narrow(3, 0, 16 * factor)).mean;
  EXPECT_GT((alone - whole.mean.narrow(3, 0, 16)).abs().max().item<double>(), 0.2 * deviation);
  EXPECT_TRUE(at::equal(vae.encode(pictures).mean, whole.mean));
}

INSTANTIATE_TEST_SUITE_P(Variants, VaeFixture,
                         testing::Values("sd", "three-blocks", "no-quant-no-attention", "old-names", "shifted",
                                         "flux2"),
                         test_name);

}  // namespace
}  // namespace sdgen
