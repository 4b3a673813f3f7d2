// What a model's files make of the parts that a pipeline runs, and of what a request leaves open.
#include "families.h"

#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <future>
#include <new>

#include "core/fixture.h"
#include "core/tensor_files.h"
#include "device.h"
#include "stages/models.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

using test::Tensors;

const fs::path kTiny = fs::path(SDGEN_FIXTURES) / "tiny-sd";

Parts assembled(const fs::path& model, Precision precision = Precision::float32) {
  return assemble(model, {at::kCPU, precision, {}}, [](const std::string& message) { ADD_FAILURE() << message; });
}

// A folder of SDXL's kind: the U-Net of the fixtures, two encoders of random numbers, the rest from tiny-sd.
class TinyXl : public testing::Test {
 protected:
  TinyXl() {
    at::manual_seed(1);
    const test::Fixture unet("layers/unet-sdxl");
    Tensors tensors;
    for (const auto& [name, entry] : unet.file().tensors())
      if (name.starts_with("w.")) tensors[name.substr(2)] = unet.tensor(name);
    component("unet", "diffusion_pytorch_model", unet.json("config"), tensors);
    text_encoder("text_encoder", 0);
    text_encoder("text_encoder_2", 10);
    for (const char* copied : {"vae", "scheduler", "tokenizer"})
      fs::copy(kTiny / copied, scratch_ / copied, fs::copy_options::recursive);
    fs::copy(kTiny / "tokenizer", scratch_ / "tokenizer_2", fs::copy_options::recursive);
    index(Json::object());
  }

  void component(const std::string& name, const std::string& stem, const Json& config, const Tensors& tensors) {
    fs::create_directory(scratch_ / name);
    scratch_.write(name + "/config.json", config.dump());
    test::write_tensors(scratch_, name + "/" + stem + ".safetensors", tensors);
  }
  // Two layers, four wide: the two encoders make the U-Net's eight.
  void text_encoder(const std::string& name, std::int64_t projection) {
    Tensors all;
    const auto add = [&all](const std::string& key, at::IntArrayRef shape) { all[key] = at::randn(shape, at::kFloat); };
    const auto layer = [&add](const std::string& key, std::int64_t out, std::int64_t in) {
      add(key + ".weight", {out, in}), add(key + ".bias", {out});
    };
    const auto norm = [&add](const std::string& key) { add(key + ".weight", {4}), add(key + ".bias", {4}); };
    add("text_model.embeddings.token_embedding.weight", {634, 4});
    add("text_model.embeddings.position_embedding.weight", {77, 4});
    for (int i = 0; i < 2; ++i) {
      const std::string block = concat("text_model.encoder.layers.", i, '.');
      for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) layer(block + "self_attn." + part, 4, 4);
      layer(block + "mlp.fc1", 8, 4), layer(block + "mlp.fc2", 4, 8);
      norm(block + "layer_norm1"), norm(block + "layer_norm2");
    }
    norm("text_model.final_layer_norm");
    if (projection) add("text_projection.weight", {projection, 4});
    Json config = {{"hidden_size", 4},         {"intermediate_size", 8}, {"num_hidden_layers", 2},
                   {"num_attention_heads", 1}, {"vocab_size", 634},      {"eos_token_id", 633}};
    if (projection) config["projection_dim"] = projection;
    component(name, "model", config, all);
  }
  void index(const Json& more) {
    Json json = {{"_class_name", "StableDiffusionXLPipeline"}};
    json.update(more);
    scratch_.write("model_index.json", json.dump());
  }
  Request completed(Request r) const {
    r.prompt = "a fox";
    return complete(models_of(assembled(scratch_.folder())), r);
  }
  static Models models_of(Parts parts) { return {"tiny", std::move(parts), {}}; }

  const c10::InferenceMode inference_;
  const Scratch scratch_;
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
  Parts parts = assembled(scratch_.folder());
  EXPECT_EQ(parts.size_ids, SizeIds::target_size);
  EXPECT_TRUE(parts.zero_empty_negative);
  EXPECT_EQ(parts.clip_skips, 1) << "the last layer is never used";
  index({{"force_zeros_for_empty_prompt", false}});
  parts = assembled(scratch_.folder());
  EXPECT_FALSE(parts.zero_empty_negative);
  EXPECT_EQ(parts.defaults.negative_prompt, "");
  // The prompt in both encoders' states, and the second one's summary.
  const auto nobody = [](const std::string&) {};
  const Conditioning c = parts.text()->encode("a fox", PromptSyntax::plain, 0, nobody);
  EXPECT_EQ(c.context.sizes(), (std::vector<std::int64_t>{1, 77, 8}));
  EXPECT_EQ(c.pooled.sizes(), (std::vector<std::int64_t>{1, 10}));
}

TEST_F(TinyXl, ARefinersScoreDoesNotFitItsUNet) {
  index({{"requires_aesthetics_score", true}});
  EXPECT_NE(message_of(Fault::input, [&] { assembled(scratch_.folder()); }).find("5 sizes make 30"), std::string::npos);
}

TEST(Families, SdgenJsonSaysWhatItsMakersWant) {
  const Scratch scratch;
  fs::copy(kTiny, scratch / "model", fs::copy_options::recursive);
  const auto defaults = [&](const char* json) {
    scratch.write("model/sdgen.json", json);
    return assembled(scratch / "model").defaults;
  };
  Request r = defaults("{}");
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

TEST(Families, PrecisionIsAsAskedButForTheAutoencoder) {
  for (const auto& [asked, type, of_autoencoder] : {std::tuple{Precision::float32, at::kFloat, at::kFloat},
                                                    {Precision::float16, at::kHalf, at::kFloat},  // force_upcast
                                                    {Precision::bfloat16, at::kBFloat16, at::kBFloat16}}) {
    const Parts parts = assembled(kTiny, asked);
    EXPECT_EQ(parts.dtype, type);
    EXPECT_EQ(parts.autoencoder_dtype, of_autoencoder);
  }
}

TEST(Families, ThreadsAreAsManyAsAsked) {
  const int before = at::get_num_threads();
  Observer nobody;
  for (const int threads : {2, 3}) {
    Pipeline::load(kTiny, {.device = "cpu", .threads = threads}, nobody);
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
