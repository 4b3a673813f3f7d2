// Transformers against diffusers', layer values to 1e-5.
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <optional>

#include "base/scratch.h"
#include "core/layers.h"
#include "nn/chroma_transformer.h"
#include "nn/dit_transformer.h"
#include "nn/flux2_transformer.h"
#include "nn/flux_transformer.h"
#include "nn/lumina2_transformer.h"
#include "nn/pixart_transformer.h"
#include "nn/qwen_transformer.h"
#include "nn/sd3_transformer.h"
#include "nn/z_image_transformer.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using test::conditioning_of;
using test::expect_all_read;
using test::expect_close;
using test::Fixture;
using test::kLayerTolerance;
using test::test_name;

// Of the result's channels those that are drawn; the others are a learned variance, which is left out.
template <class Network, class NetworkConfig>
void expect_equals_diffusers(const std::string& name, std::optional<std::int64_t> drawn = {}) {
  const c10::InferenceMode inference;
  const Fixture f("layers/" + name);
  const Weights w = f.weights(at::kDouble);
  const Network network(w, NetworkConfig::from(f.config()));
  const Tensor right = f.tensor("out.sample");
  expect_close(network.predict(f.tensor("in.sample"), f.timesteps(), conditioning_of(f, at::kDouble)),
               drawn ? right.slice(1, 0, *drawn) : right, kLayerTolerance, name);
  expect_all_read(w);
}

class Sd3Fixture : public testing::TestWithParam<const char*> {};

TEST_P(Sd3Fixture, EqualsDiffusers) { expect_equals_diffusers<Sd3Transformer, Sd3Config>(GetParam()); }

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

// diffusers turns queries and keys in float32.
TEST_P(FluxFixture, EqualsDiffusers) { expect_equals_diffusers<FluxTransformer, FluxConfig>(GetParam()); }

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

TEST_P(Flux2Fixture, EqualsDiffusers) { expect_equals_diffusers<Flux2Transformer, Flux2Config>(GetParam()); }

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

TEST(ChromaFixture, EqualsDiffusers) { expect_equals_diffusers<ChromaTransformer, ChromaConfig>("chroma"); }

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

class ZImageFixture : public testing::TestWithParam<const char*> {};
TEST_P(ZImageFixture, EqualsDiffusers) { expect_equals_diffusers<ZImageTransformer, ZImageConfig>(GetParam()); }
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
TEST_P(Lumina2Fixture, EqualsDiffusers) { expect_equals_diffusers<Lumina2Transformer, Lumina2Config>(GetParam()); }
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

TEST_P(PixArtFixture, EqualsDiffusers) { expect_equals_diffusers<PixArtTransformer, PixArtConfig>(GetParam(), 4); }

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

TEST(DiTFixture, EqualsDiffusers) { expect_equals_diffusers<DiTTransformer, DiTConfig>("dit", 4); }

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

TEST(QwenImageFixture, EqualsDiffusers) {
  expect_equals_diffusers<QwenImageTransformer, QwenImageConfig>("qwen-image");
}

}  // namespace
}  // namespace sdgen
