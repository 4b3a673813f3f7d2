// The ControlNets of transformers, against diffusers': values to 1e-5; and how their answers come to a transformer.
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include "adapters/transformer_steering.h"
#include "core/drawn.h"
#include "core/tiny_models.h"
#include "families/families.h"
#include "nn/flux_controlnet.h"
#include "nn/sd3_controlnet.h"
#include "nn/sd3_transformer.h"
#include "sdgen/error.h"
#include "stages/plan.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

using test::Fixture;
using test::kTinySd;

constexpr double kTolerance = 1e-5;

// A transformer of so many layers that has these tokens, and answers with what is added to nothing behind its layers.
struct Bare final : SteerableTransformer {
  Bare(LayerCounts counts, Tensor own) : counts(counts), own(std::move(own)) {}
  Tensor predict(const Tensor& x, const Tensor&, const Conditioning&, const LayerAdditions& additions) const override {
    std::vector<Tensor> behind;
    for (std::size_t i = 0; i < counts.joint + counts.single; ++i)
      behind.push_back(additions.behind(i, at::zeros({x.size(0), 3, 1}, at::kFloat)));
    return at::cat(behind, 2);
  }
  using SteerableTransformer::predict;
  Tensor tokens(const Tensor&) const override { return own; }
  LayerCounts layers() const override { return counts; }
  LayerCounts counts;
  Tensor own;
};

template <class Config>
LayerSamples samples_of(const Fixture& f, const Config& config, LayerCounts counts = {2, 2}) {
  using Network = std::conditional_t<std::is_same_v<Config, FluxControlNetConfig>, FluxControlNet, Sd3ControlNet>;
  const Network net(f.weights(at::kDouble), config);
  const auto exact = [&f](const char* key) { return f.has(key) ? f.tensor(key).to(at::kDouble) : Tensor(); };
  const Conditioning told{
      .context = exact("in.context"), .pooled = exact("in.pooled"), .guidance = exact("in.guidance")};
  return net.samples({f.tensor("in.sample"), f.timesteps(), told, f.tensor("in.picture"), 2},
                     Bare(counts, exact("in.tokens")));
}

// Largest relative difference of all results.
template <class Config>
double difference(const Fixture& f, const Config& config) {
  const LayerSamples got = samples_of(f, config);
  double worst = 0;
  for (std::size_t i = 0; i < got.samples.size(); ++i)
    worst = std::max(worst, test::relative_difference(got.samples[i], f.tensor(concat("out.samples.", i))));
  EXPECT_FALSE(f.has(concat("out.samples.", got.samples.size())));
  return worst;
}

template <class Network>
void expect_own_keys(const Fixture& f, const Network& network) {
  std::set<std::string> keys, expected;
  for (const auto& [name, parameter] : network.named_parameters()) keys.insert("w." + name);
  for (const auto& [name, entry] : f.file().tensors())
    if (name.starts_with("w.")) expected.insert(name);
  EXPECT_EQ(keys, expected);
}

TEST(TransformerControlNets, EqualDiffusers) {
  const c10::InferenceMode inference;
  for (const char* name : {"net", "told", "single", "nowhere"}) {
    const Fixture f(std::string("layers/sd3-controlnet-") + name);
    EXPECT_LE(difference(f, Sd3ControlNetConfig::from(f.config())), kTolerance) << name;
    expect_own_keys(f, Sd3ControlNet(f.weights(), Sd3ControlNetConfig::from(f.config())));
  }
  for (const char* name : {"net", "union", "folded"}) {
    const Fixture f(std::string("layers/flux-controlnet-") + name);
    EXPECT_LE(difference(f, FluxControlNetConfig::from(f.config())), kTolerance) << name;
    expect_own_keys(f, FluxControlNet(f.weights(), FluxControlNetConfig::from(f.config())));
  }
}

TEST(TransformerControlNets, NoticeAWrongField) {
  const c10::InferenceMode inference;
  const auto wrong = [](const char* name, const std::function<void(Sd3ControlNetConfig&)>& mistake) {
    const Fixture f(name);
    Sd3ControlNetConfig config = Sd3ControlNetConfig::from(f.config());
    mistake(config);
    return difference(f, config);
  };
  EXPECT_GT(wrong("layers/sd3-controlnet-net", [](auto& c) { c.zero_pooled = false; }), 1e-3);
  EXPECT_GT(wrong("layers/sd3-controlnet-net", [](auto& c) { c.heads = 1; }), 1e-3);
  EXPECT_GT(wrong("layers/sd3-controlnet-told", [](auto& c) { c.zero_pooled = true; }), 1e-3);
  EXPECT_GT(wrong("layers/sd3-controlnet-told", [](auto& c) { c.heads = 1, c.qk_norm = false; }), 1e-3);
  const Fixture f("layers/flux-controlnet-union");
  FluxControlNetConfig config = FluxControlNetConfig::from(f.config());
  config.copied.axes = {4, 4, 4};
  EXPECT_GT(difference(f, config), 1e-3);
}

TEST(TransformerControlNets, NameWhatTheyDoNotSupport) {
  const auto refused = [](const char* fixture, auto from) {
    return [fixture, from](const std::string& key, const Json& value) {
      Json json = Fixture(fixture).config().json();
      json[key] = value;
      try {
        from(Config(json, "net/config.json"));
        ADD_FAILURE() << key << " = " << value << " was accepted";
      } catch (const Error& error) {
        const std::string text = error.what();
        EXPECT_EQ(error.fault(), Fault::input);
        EXPECT_NE(text.find("net/config.json"), std::string::npos) << text;
        EXPECT_NE(text.find(key), std::string::npos) << text;
      }
    };
  };
  const auto sd3 = refused("layers/sd3-controlnet-net", [](const Config& c) { Sd3ControlNetConfig::from(c); });
  sd3("_class_name", "ControlNetModel");
  sd3("extra_conditioning_channels", 1);
  sd3("pos_embed_type", "learned");
  sd3("pos_embed_max_size", nullptr);
  sd3("num_layers", 0);
  sd3("use_pos_embed", 1);
  sd3("force_zeros_for_pooled_projection", "no");
  const auto flux = refused("layers/flux-controlnet-net", [](const Config& c) { FluxControlNetConfig::from(c); });
  flux("_class_name", "SD3ControlNetModel");
  flux("num_mode", -1);
  flux("num_layers", -1);
  flux("num_single_layers", 10'000'000);
  flux("patch_size", 2);
  flux("axes_dims_rope", Json{2, 4, 8});
  const auto folded = refused("layers/flux-controlnet-folded", [](const Config& c) { FluxControlNetConfig::from(c); });
  folded("patch_size", 1);
  folded("conditioning_embedding_channels", 5);
}

// Which samples come behind which layers, as diffusers counts.
TEST(TransformerControlNets, KnowTheirLayers) {
  const c10::InferenceMode inference;
  const auto of_sd3 = [](std::size_t layers) {
    const Fixture f("layers/sd3-controlnet-net");
    return samples_of(f, Sd3ControlNetConfig::from(f.config()), {layers, 0}).of_layer;
  };
  EXPECT_EQ(of_sd3(2), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(of_sd3(3), (std::vector<std::size_t>{0, 0, 1}));
  EXPECT_EQ(of_sd3(5), (std::vector<std::size_t>{0, 0, 0, 1, 1}));
  const auto of_flux = [](const char* name, LayerCounts layers) {
    const Fixture f(std::string("layers/flux-controlnet-") + name);
    return samples_of(f, FluxControlNetConfig::from(f.config()), layers).of_layer;
  };
  constexpr std::size_t none = LayerSamples::kNone;
  EXPECT_EQ(of_flux("net", {5, 3}), (std::vector<std::size_t>{0, 0, 0, 1, 1, 2, 2, 3}));
  EXPECT_EQ(of_flux("net", {1, 1}), (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(of_flux("union", {3, 2}), (std::vector<std::size_t>{0, 0, 1, none, none}));
  EXPECT_EQ(of_flux("folded", {5, 1}), (std::vector<std::size_t>{0, 1, 0, 1, 0, none})) << "again and again";
}

// Says what it was asked with, behind the first of two layers.
struct Echo final : TransformerControlNet {
  explicit Echo(bool alone) : alone(alone) {}
  LayerSamples samples(const ControlView& view, const SteerableTransformer&) const override {
    const Tensor said = view.x.view({-1, 1, 1}) + 100 * view.picture.view({-1, 1, 1}) + double(1000 * view.mode);
    return {{said.expand({-1, 2, 1})}, {0, LayerSamples::kNone}};
  }
  bool sees_prompts_alone() const override { return alone; }
  bool alone;
};

// Rows are [negative, negative, prompt, prompt]; of three tokens the first two are the picture's.
TEST(ControlledTransformers, AddWhatIsSaidToTheirRows) {
  const c10::InferenceMode inference;
  const auto bare = std::make_shared<const Bare>(LayerCounts{2, 0}, Tensor());
  const Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({4, 1, 1, 1}), t = at::ones({4}, at::kFloat);
  const Tensor pictures = at::tensor({5.0F, 6.0F}).view({2, 1, 1, 1});
  const auto first_layer = [&](const std::vector<TransformerControl>& controls) {
    const Tensor all = ControlledTransformer(bare, controls, 2).predict(x, t, {});
    EXPECT_TRUE(at::equal(all.select(2, 1), at::zeros({4, 3}, at::kFloat))) << "nothing behind the second";
    EXPECT_TRUE(at::equal(all.select(2, 0).select(1, 2), at::zeros({4}, at::kFloat))) << "nothing to the third token";
    EXPECT_TRUE(at::equal(all.select(2, 0).select(1, 0), all.select(2, 0).select(1, 1)));
    return all.select(2, 0).select(1, 0).contiguous();
  };
  const auto all = std::make_shared<const Echo>(false), alone = std::make_shared<const Echo>(true);
  const auto said = [](std::initializer_list<float> values) { return at::tensor(values); };
  EXPECT_TRUE(at::equal(first_layer({{all, pictures, 1, 0}}), said({501, 602, 503, 604})));
  EXPECT_TRUE(at::equal(first_layer({{alone, pictures, 1, 0}}), said({503, 604, 503, 604})));
  EXPECT_TRUE(at::equal(first_layer({{alone, pictures, 0.5, 3}}), said({1751.5, 1802, 1751.5, 1802})));
  EXPECT_TRUE(at::equal(first_layer({{all, pictures, 1, 0}, {alone, pictures.slice(0, 0, 1), 1, 0}}),
                        said({1004, 1106, 1006, 1108})));
}

class SteeredTransformers : public testing::Test, protected test::TinyModels {
 protected:
  SteeredTransformers() { at::manual_seed(1); }

  static Parts assembled(const fs::path& model, const std::vector<fs::path>& nets) {
    AssembleOptions options{at::kCPU, Precision::float32, {}};
    options.controlnets = nets;
    return assemble(model, options, [](const std::string& message) { ADD_FAILURE() << message; });
  }
  static std::string refusal(const std::function<void()>& action, Fault fault = Fault::input) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), fault);
      return error.what();
    }
    return "";
  }
  static std::string misfit(const fs::path& model, const fs::path& net) {
    return refusal([&] { assembled(model, {net}); });
  }
};

TEST_F(SteeredTransformers, RefuseNetworksOfOthers) {
  const fs::path sd3 = sd35(), dev = flux("FluxPipeline");
  EXPECT_CONTAINS(misfit(sd3, flux_controlnet("net")), "class 'FluxControlNetModel', expected SD3ControlNetModel");
  EXPECT_CONTAINS(misfit(dev, sd3_controlnet("net")), "class 'SD3ControlNetModel', expected FluxControlNetModel");
  EXPECT_CONTAINS(misfit(dev, kTinySd / "unet"), "class 'UNet2DConditionModel', expected FluxControlNetModel");
  EXPECT_CONTAINS(misfit(sd3, sd3_controlnet("net", {{"joint_attention_dim", 20}})),
                  "the ControlNet's joint_attention_dim is 20, the transformer's 24");
  EXPECT_CONTAINS(misfit(sd3, sd3_controlnet("net", {{"in_channels", 6}})),
                  "the ControlNet's in_channels is 6, the transformer's 4");
  EXPECT_CONTAINS(misfit(sd3, sd3_controlnet("net", {{"num_attention_heads", 3}, {"caption_projection_dim", 24}})),
                  "is 24, the transformer's 16: it was made for another model");
  EXPECT_CONTAINS(misfit(dev, flux_controlnet("net", {{"pooled_projection_dim", 10}})),
                  "the ControlNet's pooled_projection_dim is 10, the transformer's 8");
  EXPECT_CONTAINS(misfit(dev, flux_controlnet("folded")),
                  "the ControlNet makes a latent of 8x8 pixels (input_hint_block), the autoencoder of 4x4");
  const fs::path fill = flux("FluxFillPipeline"), net = flux_controlnet("net");
  EXPECT_CONTAINS(refusal([&] { assembled(fill, {net}); }, Fault::usage),
                  "for which ControlNets are not supported yet");
}

TEST_F(SteeredTransformers, KnowWhatTheirNetworksSee) {
  const fs::path model = sd35();
  Json vae = Json::parse(contents(model / "vae/config.json"));
  vae["shift_factor"] = 0.0609;
  scratch_.write("sd35/vae/config.json", vae.dump());
  const Parts sd3 = assembled(model, {sd3_controlnet("net"), sd3_controlnet("told")});
  ASSERT_EQ(sd3.steering.sights.size(), 2u);
  EXPECT_EQ(sd3.steering.sights[0].of, Sight::Of::latents);
  EXPECT_FALSE(sd3.steering.sights[0].drawn);
  EXPECT_NE(sd3.latents.offset, 0);
  EXPECT_EQ(sd3.steering.sights[0].offset, -sd3.latents.offset) << "InstantX's see latents that are not shifted";
  EXPECT_EQ(sd3.steering.sights[1].offset, 0);
  EXPECT_EQ(sd3.defaults.guidance_scale, 7.0);
  EXPECT_TRUE(sd3.notes.empty());
  const Parts of_file = assembled(model, {scratch_ / "sd3-controlnet-told/diffusion_pytorch_model.safetensors"});
  ASSERT_EQ(of_file.notes.size(), 1u);
  EXPECT_CONTAINS(of_file.notes[0], "is taken for one that is not told the prompt's summary");
  EXPECT_EQ(of_file.steering.sights[0].offset, -of_file.latents.offset);
  const Parts schnell = assembled(flux("FluxPipeline", /*guidance=*/false), {flux_controlnet("net")});
  EXPECT_TRUE(schnell.steering.sights[0].drawn);
  EXPECT_TRUE(schnell.takes_guidance_scale) << "the ControlNet is told it";
  EXPECT_EQ(schnell.defaults.guidance_scale, 7.0) << "FluxControlNetPipeline's";
  EXPECT_FALSE(
      assembled(flux("FluxImg2ImgPipeline", /*guidance=*/false), {flux_controlnet("union")}).takes_guidance_scale);
}

// One net has places for 5x5 patches of 2x2 latents of 4x4 pixels.
TEST_F(SteeredTransformers, AreDrawnInWhatTheirNetworksHavePlacesFor) {
  const fs::path model = sd35();
  EXPECT_EQ(assembled(model, {}).latents.most, 9 * 2 * 4);
  EXPECT_EQ(assembled(model, {sd3_controlnet("told")}).latents.most, 9 * 2 * 4);
  const Fixture net("layers/sd3-controlnet-net");
  test::Tensors tensors = tensors_of(net);
  for (const char* name : {"pos_embed", "pos_embed_input"})
    tensors[concat(name, ".proj.weight")] = at::randn({16, 4, 2, 2}, at::kFloat);
  tensors["context_embedder.weight"] = at::randn({16, 24}, at::kFloat);
  tensors["pos_embed.pos_embed"] = at::randn({1, 25, 16}, at::kFloat);
  Json config = net.json("config");
  config.update({{"in_channels", 4}, {"joint_attention_dim", 24}, {"pos_embed_max_size", 5}});
  EXPECT_EQ(assembled(model, {controlnet("small", config, tensors)}).latents.most, 5 * 2 * 4);
}

TEST_F(SteeredTransformers, SayWhichKindsOfPicturesTheyKnow) {
  const auto picture =
      std::make_shared<const Image>(Image{32, 32, std::vector<std::uint8_t>(std::size_t{3} * 32 * 32)});
  const auto plan = [&](const char* net, const std::string& mode, bool guess = false) {
    Request r;
    r.prompt = "a fox", r.controls = {{picture, 1, 0, 1, mode}}, r.guess_mode = guess, r.steps = 2;
    return refusal(
        [&] {
          make_plan({"tiny", assembled(scratch_ / "FluxPipeline", {flux_controlnet(net)}), {}}, r, nullptr);
        },
        Fault::usage);
  };
  flux("FluxPipeline");
  EXPECT_EQ(plan("net", ""), "");
  for (const char* mode : {"canny", "blur", "3"}) EXPECT_EQ(plan("union", mode), "");
  EXPECT_CONTAINS(plan("net", "canny"), "knows one kind of pictures alone");
  EXPECT_CONTAINS(plan("union", ""), "knows several kinds of pictures");
  EXPECT_CONTAINS(plan("union", ""), "canny, tile, depth, blur, or a number from 0 to 3");
  for (const char* mode : {"pose", "4", "-1", "edges", "1x"})
    EXPECT_CONTAINS(plan("union", mode), "knows no such kind");
  EXPECT_CONTAINS(plan("net", "", /*guess=*/true), "guess_mode is for ControlNets of U-Nets");
}

TEST_F(SteeredTransformers, SkipNoLayers) {
  const auto picture =
      std::make_shared<const Image>(Image{32, 32, std::vector<std::uint8_t>(std::size_t{3} * 32 * 32)});
  Request r;
  r.prompt = "a fox", r.controls = {{picture}}, r.skip_layers = {1}, r.steps = 4;
  EXPECT_CONTAINS(refusal(
                      [&] {
                        make_plan({"tiny", assembled(sd35(), {sd3_controlnet("net")}), {}}, r, nullptr);
                      },
                      Fault::usage),
                  "skip_layers does not go with controlnets");
}

}  // namespace
}  // namespace sdgen
