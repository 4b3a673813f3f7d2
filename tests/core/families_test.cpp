// What a model's files make of the parts that a pipeline runs, and of what a request leaves open.
#include "families/families.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <future>
#include <new>

#include "core/drawn.h"
#include "core/fixture.h"
#include "core/tiny_models.h"
#include "device/device.h"
#include "families/assembly.h"
#include "formats/tokenizers.h"
#include "model/network_files.h"
#include "nn/clip_text.h"
#include "stages/plan.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

using test::kTinySd;

Parts assembled(const fs::path& model, Precision precision = Precision::float32) {
  return assemble(model, {at::kCPU, precision, {}}, [](const std::string& message) { ADD_FAILURE() << message; });
}

class TinyXl : public testing::Test, protected test::TinyModels {
 protected:
  TinyXl() {
    at::manual_seed(1);
    xl();
  }

  Parts base() const { return assembled(scratch_ / "base"); }
  Request completed(Request r) const {
    r.prompt = "a fox";
    return make_plan({"tiny", base(), {}}, r, nullptr).request();
  }
  Pipeline load(const LoadOptions& more) const {
    LoadOptions options = more;
    options.device = "cpu", options.precision = Precision::float32;
    Observer nobody;
    return Pipeline::load(scratch_ / "base", options, nobody);
  }
  static Image drawn(const Pipeline& pipeline, const Request& request) {
    Observer nobody;
    return test::drawn(pipeline, {request}, nobody)[0];
  }

  const c10::InferenceMode inference_;
};

TEST_F(TinyXl, HasSdxlsDefaults) {
  Request r = completed({});
  EXPECT_EQ(r.guidance_scale, 5.0);
  EXPECT_EQ(r.steps, 50);
  EXPECT_EQ(std::pair(r.width, r.height), std::pair(std::optional(32), std::optional(32)));
  EXPECT_FALSE(r.negative_prompt.has_value()) << "none is not the empty one";
  const auto picture = std::make_shared<const Image>(Image{32, 32, std::vector<std::uint8_t>(3 * 32 * 32, 255)});
  r = {};
  r.init_image = picture;
  EXPECT_EQ(completed(r).strength, 0.3);
  r.mask = picture;
  EXPECT_EQ(completed(r).strength, 0.9999);
  EXPECT_EQ(completed(r).guidance_scale, 7.5);
}

TEST_F(TinyXl, ToldSizesAndZerosAreInItsIndex) {
  Parts parts = base();
  EXPECT_EQ(parts.sizes.count, 6);
  EXPECT_TRUE(parts.refinable && !parts.finishes);
  EXPECT_TRUE(parts.text->zero_empty_negative);
  EXPECT_EQ(parts.text->most_skipped, 1) << "the last layer is never used";
  index("base", {{"force_zeros_for_empty_prompt", false}});
  parts = base();
  EXPECT_FALSE(parts.text->zero_empty_negative);
  EXPECT_EQ(parts.defaults.negative_prompt, "");
}

// What the encoder of a model makes of a prompt.
ClipText::Output states(const fs::path& path, const char* encoder, const std::string& prompt) {
  const ModelFiles model = open_model(path, [](const std::string&) {});
  const Component& c = model.at(encoder);
  const ClipText network(weights_of(c, {at::kCPU, at::kFloat}), ClipTextConfig::from(c.config));
  return network.forward(at::tensor(tokenize(*tokenizer_of(c), prompt).ids, at::kLong).unsqueeze(0));
}

Conditioning encoded(const Parts& parts, const std::string& prompt) {
  return parts.text->make({})->encode({prompt}, {}, [](const std::string&) {});
}

TEST_F(TinyXl, ThePromptIsBothEncodersLastButOneStatesAndTheSecondOnesSummary) {
  const Conditioning c = encoded(base(), "a fox");
  const ClipText::Output first = states(scratch_ / "base", "text_encoder", "a fox"),
                         second = states(scratch_ / "base", "text_encoder_2", "a fox");
  EXPECT_TRUE(c.context.equal(at::cat({first.hidden.at(1), second.hidden.at(1)}, -1)));
  EXPECT_TRUE(c.pooled.equal(second.pooled));
}

TEST(Families, StableDiffusionsPromptIsItsEncodersLastStates) {
  const c10::InferenceMode inference;
  const Conditioning c = encoded(assembled(kTinySd), "a fox");
  EXPECT_TRUE(c.context.equal(states(kTinySd, "text_encoder", "a fox").last));
  EXPECT_FALSE(c.pooled.defined());
}

TEST_F(TinyXl, ARefinersScoreDoesNotFitItsUNet) {
  index("base", {{"requires_aesthetics_score", true}});
  EXPECT_NE(message_of(Fault::input, [&] { base(); }).find("5 sizes make 30"), std::string::npos);
}

TEST_F(TinyXl, ARefinerTakesTheLastFifth) {
  Request r;
  r.prompt = "a fox";
  const Models models{"tiny", base(), assembled(refiner())};
  EXPECT_EQ(models.refiner->sizes.count, 5);
  EXPECT_TRUE(models.refiner->refinable && models.refiner->finishes);
  EXPECT_EQ(make_plan(models, r, nullptr).request().refiner_start, 0.8);
  r.refiner_start = 0.5;
  EXPECT_EQ(make_plan(models, r, nullptr).request().refiner_start, 0.5);
}

TEST_F(TinyXl, LorasAreTheFirstModelsAlone) {
  const std::string module = "lora_te1_text_model_encoder_layers_0_mlp_fc1";  // the refiner has no such encoder
  const auto lora = test::write_tensors(scratch_, "lora.safetensors",
                                        {{module + ".lora_down.weight", at::randn({2, 4}, at::kFloat)},
                                         {module + ".lora_up.weight", at::randn({8, 2}, at::kFloat)}});
  const fs::path last = refiner();
  const Pipeline pipeline = load({.refiner = last, .loras = {{lora}}, .strict = true});
  Request r;
  r.prompt = "a fox", r.seed = 7, r.steps = 2;
  const std::vector<LoraInfo> loras = pipeline.plan(r).loras();
  ASSERT_EQ(loras.size(), 1u);
  EXPECT_EQ(loras[0].applied, 1u);
  const Image all = drawn(pipeline, r), none = drawn(load({.refiner = last}), r);
  EXPECT_NE(all.rgb, none.rgb);
}

// A model that finishes its own pictures draws those that it draws alone, also where the prompt changes on the way.
TEST_F(TinyXl, AsItsOwnRefinerItDrawsTheSame) {
  const Pipeline alone = load({}), together = load({.refiner = scratch_ / "base"});
  Request r;
  r.scheduler = "ddim";
  r.steps = 4, r.seed = 7;
  r.prompt_syntax = PromptSyntax::weighted;
  const auto with_prompt = [&](const char* prompt) {
    r.prompt = prompt;
    r.refiner_start.reset();
    const Image one = drawn(alone, r);
    r.refiner_start = 0.5;
    EXPECT_EQ(drawn(together, r).rgb, one.rgb) << prompt;
    return one;
  };
  const Image fox = with_prompt("a red fox"), changed = with_prompt("a red [fox:moon:0.25]");
  EXPECT_NE(fox.rgb, changed.rgb) << "what the second half is told";
}

// g++ 12 destroys a vector twice when a later initializer of its aggregate throws.
TEST_F(TinyXl, WhatItsFilesSayWrongIsAnError) {
  index("base", {{"force_zeros_for_empty_prompt", "no"}});
  EXPECT_NE(message_of(Fault::input, [&] { base(); }).find("force_zeros_for_empty_prompt"), std::string::npos);
  index("base", {{"requires_aesthetics_score", 1}});
  EXPECT_NE(message_of(Fault::input, [&] { base(); }).find("requires_aesthetics_score"), std::string::npos);
  index("base", Json::object());
  scratch_.write("base/text_encoder_2/config.json", R"({"hidden_size": "wide"})");
  EXPECT_NE(message_of(Fault::input, [&] { base(); }).find("hidden_size"), std::string::npos);
}

TEST(Families, WhatATextEncodersConfigSaysWrongIsAnError) {
  const Scratch scratch;
  fs::copy(kTinySd, scratch / "model", fs::copy_options::recursive);
  scratch.write("model/text_encoder/config.json", R"({"hidden_size": "wide"})");
  EXPECT_NE(message_of(Fault::input, [&] { assembled(scratch / "model"); }).find("hidden_size"), std::string::npos);
}

TEST(Families, SdgenJsonSaysWhatItsMakersWant) {
  const Scratch scratch;
  fs::copy(kTinySd, scratch / "model", fs::copy_options::recursive);
  const auto defaults = [&](const char* json) {
    scratch.write("model/sdgen.json", json);
    return assembled(scratch / "model").defaults;
  };
  Defaults r = defaults("{}");
  EXPECT_EQ(r.steps, 50);
  EXPECT_EQ(r.guidance_scale, 7.5);
  EXPECT_EQ(r.width, 32);
  EXPECT_EQ(r.negative_prompt, "");
  r = defaults(R"({"steps": 9, "guidance_scale": 2.5, "width": 40, "height": 48, "negative_prompt": "ugly",
                   "scheduler": "euler"})");
  EXPECT_EQ(r.steps, 9);
  EXPECT_EQ(r.guidance_scale, 2.5);
  EXPECT_EQ(std::pair(r.width, r.height), std::pair(std::optional(40), std::optional(48)));
  EXPECT_EQ(r.negative_prompt, "ugly");
  EXPECT_EQ(r.scheduler, "euler");
}

TEST(Families, WhatASingleFileSaysOfItselfStandsBelowSdgenJson) {
  const Scratch scratch;
  ModelFiles model{scratch / "model.safetensors", Config(Json::object(), ""), Config(Json::object(), ""), {}, false};
  EXPECT_EQ(read_defaults(model).steps, std::nullopt);
  model.said.emplace_back(Json{{"steps", 4}, {"guidance_scale", 8.5}}, "model");
  EXPECT_EQ(read_defaults(model).steps, 4);
  scratch.write("sdgen.json", R"({"steps": 9, "negative_prompt": "ugly"})");
  model.said.insert(model.said.begin(), authors_file(scratch / "").value());
  const Defaults both = read_defaults(model);
  EXPECT_EQ(both.steps, 9);
  EXPECT_EQ(both.guidance_scale, 8.5);
  EXPECT_EQ(both.negative_prompt, "ugly");
}

// A text encoder projects where its class does, whatever is in its file.
TEST_F(TinyXl, AProjectionIsTheClasses) {
  text_encoder("base/text_encoder", 4, 0);
  const auto pooled = [&](const char* encoder) { return states(scratch_ / "base", encoder, "a fox").pooled; };
  EXPECT_EQ(pooled("text_encoder").size(1), 4);
  EXPECT_EQ(pooled("text_encoder_2").size(1), 10);
  text_encoder("base/text_encoder", 4, 7);
  EXPECT_EQ(pooled("text_encoder").size(1), 4);
  base();  // and nobody warns of it
  text_encoder("base/text_encoder_2", 4, 0);
  EXPECT_NE(message_of(Fault::input, [&] { base(); }).find("without the tensor 'text_projection.weight'"),
            std::string::npos);
  index("base", {{"text_encoder", {"transformers", "CLIPTextModelWithProjection"}}});
  text_encoder("base/text_encoder_2", 4, 10);
  EXPECT_EQ(pooled("text_encoder").size(1), 7);
}

// An empty list says something, and nothing that can be.
TEST_F(TinyXl, AnEmptyListIsNotADefault) {
  for (const auto& [file, key] : {std::pair{"unet", "down_block_types"},
                                  {"unet", "up_block_types"},
                                  {"unet", "block_out_channels"},
                                  {"vae", "down_block_types"},
                                  {"vae", "block_out_channels"}}) {
    const std::string name = concat("base/", file, "/config.json"), before = contents(scratch_ / name);
    Json config = Json::parse(before);
    config[key] = Json::array();
    scratch_.write(name, config.dump());
    const std::string message = message_of(Fault::input, [&] { base(); });
    EXPECT_NE(message.find(concat("'", key, "' is a list of 0")), std::string::npos) << message;
    scratch_.write(name, before);
  }
  index("base", {{"text_encoder", Json::array()}});
  EXPECT_NE(message_of(Fault::input, [&] { base(); }).find("text_encoder = a list of 0"), std::string::npos);
}

// What diffusers' pipelines change in a scheduler's config.
TEST_F(TinyXl, RepaintingChangesNoMoreOfTheScheduler) {
  EXPECT_EQ(base().rules.repaint_quirks, PipelineQuirks::stable_diffusion);
  const Parts sd = assembled(kTinySd);
  EXPECT_EQ(sd.rules.quirks, PipelineQuirks::stable_diffusion);
  EXPECT_EQ(sd.rules.repaint_quirks, PipelineQuirks::inpainting);
}

TEST(Families, PrecisionIsAsAskedButForTheAutoencoder) {
  for (const auto& [asked, type, of_autoencoder] : {std::tuple{Precision::float32, at::kFloat, at::kFloat},
                                                    {Precision::float16, at::kHalf, at::kFloat},  // force_upcast
                                                    {Precision::bfloat16, at::kBFloat16, at::kBFloat16}}) {
    const Parts parts = assembled(kTinySd, asked);
    EXPECT_EQ(parts.dtype, type);
    EXPECT_EQ(parts.picture.dtype, of_autoencoder);
  }
}

// As SDXL's are, 32 high and wide where they are smallest; Stable Diffusion's are 8, or 12.
TEST(Families, LargePicturesAreLargeAtTheCoarsestLevel) {
  Component unet = open_model(test::kTinySd, [](const std::string&) {}).at("unet");
  Json json = unet.config.json();
  const std::size_t levels = UNetConfig::from(unet.config).levels.size();
  const auto draws_large = [&](int coarsest) {
    json["sample_size"] = coarsest << (levels - 1);
    unet.config = Config(json, "unet");
    return weights_of(unet, {at::kMeta, at::kFloat}).draws_large();
  };
  EXPECT_TRUE(draws_large(32));
  EXPECT_FALSE(draws_large(12));
  EXPECT_FALSE(draws_large(8));
}

TEST(Families, ThreadsAreAsManyAsAsked) {
  const int before = at::get_num_threads();
  for (const int threads : {2, 3}) {
    const Runtime runtime(threads);
    EXPECT_EQ(at::get_num_threads(), threads);
  }
  at::set_num_threads(before);
}

TEST(Devices, KnowALackOfMemory) {
  const auto failure = [](const auto& thrown) {
    try {
      throw thrown;
    } catch (...) {
      return device_failure();
    }
  };
  const auto of_torch = [&](const char* what) { return failure(c10::Error({__func__, __FILE__, __LINE__}, what)); };
  for (const auto& found : {failure(std::bad_alloc()), failure(std::future_error(std::future_errc::broken_promise)),
                            of_torch("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
                            of_torch("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")}) {
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(found->memory);
  }
  EXPECT_FALSE(of_torch("The size of tensor a (3) must match").has_value());
  EXPECT_FALSE(failure(std::runtime_error("out of paper")).has_value());
}

TEST(Devices, AreNamed) {
  EXPECT_TRUE(open_device("cpu").is_cpu());
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:128", "CPU", ""})
    EXPECT_NE(message_of(Fault::usage, [&] { open_device(name); }).find("is not auto, cpu, cuda or cuda:N"),
              std::string::npos)
        << name;
}

}  // namespace
}  // namespace sdgen
