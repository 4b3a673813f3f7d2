// `sdgen inspect` as its users see it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "program/program.h"

namespace sdgen::test {
namespace {

using Json = nlohmann::ordered_json;

class Inspect : public Program {
 protected:
  // The report of a path that sdgen has nothing against.
  Json report(const std::string& path) {
    const Outcome outcome = run({"inspect", "--json", path});
    EXPECT_EQ(outcome.exit_code, 0) << path << ": " << outcome.err;
    EXPECT_EQ(outcome.err, "") << path;
    return parse(outcome);
  }
  static Json parse(const Outcome& outcome) {
    EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1) << outcome.out;
    return Json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
  }

  // A file of float16 zeros.
  std::string write(const std::string& name, const std::map<std::string, std::vector<std::int64_t>>& shapes,
                    const Json& metadata = nullptr) {
    Json header = Json::object();
    if (metadata.is_object()) header["__metadata__"] = metadata;
    std::size_t end = 0;
    for (const auto& [tensor, shape] : shapes) {
      const std::size_t begin = end;
      std::size_t bytes = 2;
      for (const std::int64_t n : shape) bytes *= n;
      header[tensor] = {{"dtype", "F16"}, {"shape", shape}, {"data_offsets", {begin, end = begin + bytes}}};
    }
    const std::string text = header.dump();
    const std::uint64_t size = text.size();
    std::ofstream(folder_ / name, std::ios::binary).write(reinterpret_cast<const char*>(&size), 8)
        << text << std::string(end, '\0');
    return name;
  }
};

TEST_F(Inspect, TheEmbeddedModel) {
  const std::string model = SDGEN_SOURCE "/models/default";
  const Json json = report(model);
  EXPECT_EQ(json["kind"], "checkpoint");
  EXPECT_EQ(json["format"], "diffusers folder");
  EXPECT_EQ(json["family"], "Stable Diffusion 1");
  EXPECT_EQ(json["prediction_type"], "v_prediction");
  EXPECT_EQ(json["native_size"], Json({128, 128}));
  ASSERT_EQ(json["components"].size(), 3u);
  EXPECT_EQ(json["components"][0]["name"], "unet");
  EXPECT_EQ(json["components"][0]["parameters"], 9650904);
  EXPECT_EQ(json["unread"]["count"], 0);
  ASSERT_EQ(json["files"].size(), 3u);
  EXPECT_EQ(json["files"][1]["file"], "unet/diffusion_pytorch_model.safetensors");
  EXPECT_EQ(json["files"][1]["sha256"], "e0cad030c6418e338ffcf42081f82cb6f0ec00663152612e8fcc0b33528d7583");
  EXPECT_EQ(json["files"][1]["a1111_hash"], "e0cad030c6");
  const Outcome text = run({"inspect", model});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_TRUE(text.out.starts_with(model + "\n  kind            checkpoint (diffusers folder)\n")) << text.out;
  EXPECT_TRUE(contains(text.out, "  unet            9,650,904 parameters, 19.3 MB, F16")) << text.out;
}

TEST_F(Inspect, WhatShareEachEncodingHas) {
  const Json json = report(SDGEN_FIXTURES "/quantization.safetensors");
  EXPECT_EQ(json["dtypes"]["NF4"], 31);
  std::uint64_t all = 0;
  for (const auto& [dtype, bytes] : json["dtype_bytes"].items()) all += bytes.get<std::uint64_t>();
  EXPECT_EQ(json["bytes"], all);
  const Json vae = report(SDGEN_FIXTURES "/tiny-sd")["components"][1];
  EXPECT_GT(vae["memory"], 0);
  EXPECT_EQ(vae["dtype_bytes"]["F32"], vae["bytes"]);
}

TEST_F(Inspect, AFolderItsPartsAndWhatWouldNotLoad) {
  const std::string model = SDGEN_FIXTURES "/tiny-sd";
  Json json = report(model);
  EXPECT_EQ(json["family"], "Stable Diffusion 1");
  EXPECT_EQ(json["components"][0]["dtypes"].size(), 1u);
  json = report(model + "/vae");
  EXPECT_EQ(json["kind"], "component");
  EXPECT_EQ(json["component"], "vae");
  EXPECT_EQ(json["class"], "AutoencoderKL");
  EXPECT_EQ(json["unread"]["count"], 0);
  json = report(model + "/unet/diffusion_pytorch_model.safetensors");
  EXPECT_EQ(json["component"], "unet");
  EXPECT_EQ(json["layout"], "diffusers");
  // An autoencoder's file alone is taken as --vae takes it, with 32 groups: this tiny one has fewer channels.
  const Outcome alone = run({"inspect", "--json", model + "/vae/diffusion_pytorch_model.safetensors"});
  EXPECT_EQ(alone.exit_code, 3);
  EXPECT_EQ(parse(alone)["component"], "vae");
  EXPECT_TRUE(contains(alone.err, "norm_num_groups")) << alone.err;

  fs::copy(model, folder_ / "model", fs::copy_options::recursive);
  fs::remove(folder_ / "model/text_encoder/config.json");
  fs::copy(model + "/vae/config.json", folder_ / "model/text_encoder/config.json");
  const Outcome outcome = run({"inspect", "--json", "model"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  json = parse(outcome);
  EXPECT_EQ(json["kind"], "checkpoint");
  EXPECT_EQ(outcome.err, "sdgen: " + json["problem"].get<std::string>() + "\n");
  EXPECT_EQ(json["components"].size(), 2u);  // the others are well
}

TEST_F(Inspect, AModelThatHearsNoPrompt) {
  const Json json = report(SDGEN_FIXTURES "/tiny-ddpm");
  EXPECT_EQ(json["family"], "unconditional");
  EXPECT_EQ(json["pipeline"], "DDPMPipeline");
  ASSERT_EQ(json["components"].size(), 1u);
  EXPECT_EQ(json["unread"]["count"], 0);
  EXPECT_EQ(json["files"][0]["file"], "diffusion_pytorch_model.safetensors");
}

TEST_F(Inspect, APictureThatSdgenMade) {
  const Outcome made = make({"-o", "fox.png", "-n", "灰色", "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json json = report("fox.png");
  EXPECT_EQ(json["kind"], "picture");
  EXPECT_EQ(json["size"], Json({32, 32}));
  EXPECT_TRUE(json["parameters"].get<std::string>().starts_with("a red fox\nNegative prompt: 灰色\nSteps: 2, "))
      << json;
  EXPECT_TRUE(
      contains(run({"inspect", "fox.png"}).out, "  parameters      a red fox\n" + std::string(18, ' ') + "Neg"));
}

TEST_F(Inspect, ALoraAndAnEmbedding) {
  const std::string module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
  Json json = report(write("lora.safetensors",
                           {{module + ".lora_down.weight", {4, 2048}}, {module + ".lora_up.weight", {8, 4}}},
                           {{"ss_output_name", "fox\x1b[31m"}, {"ss_tag_frequency", std::string(100000, 'x')}}));
  EXPECT_EQ(json["kind"], "lora");
  EXPECT_EQ(json["family"], "SDXL");
  EXPECT_EQ(json["algorithms"], Json({"LoRA"}));
  EXPECT_EQ(json["ranks"], Json({{"4", 1}}));
  EXPECT_EQ(json["modules"], Json({{"unet", 1}}));
  EXPECT_EQ(json["title"], "fox\\x1b[31m");
  EXPECT_LT(json["metadata"]["ss_tag_frequency"].get<std::string>().size(), 1000u);
  json = report(write("word.safetensors", {{"emb_params", {3, 768}}}));
  EXPECT_EQ(json["kind"], "embedding");
  EXPECT_EQ(json["vectors"], Json({{{"name", "emb_params"}, {"count", 3}, {"width", 768}}}));
  json = report(write("strange.safetensors", {{"a\n", {2, 2}}, {"b", {}}}));
  EXPECT_EQ(json["kind"], "unknown");
  EXPECT_EQ(json["names"], Json({"a\\x0a", "b"}));
  EXPECT_EQ(json["parameters"], 5);
}

TEST_F(Inspect, ALoraOfATransformer) {
  const std::string module = "double_blocks.0.img_attn.qkv", t5 = "text_encoders.t5xxl.transformer.encoder.block.0.x";
  const Json json = report(write("lora.safetensors", {{module + ".lora_A.weight", {4, 8}},
                                                      {module + ".lora_B.weight", {24, 4}},
                                                      {t5 + ".lora_A.weight", {4, 8}},
                                                      {t5 + ".lora_B.weight", {8, 4}}}));
  EXPECT_EQ(json["kind"], "lora");
  EXPECT_EQ(json["family"], "Flux");
  EXPECT_EQ(json["modules"], Json({{"t5", 1}, {"transformer", 1}}));
}

TEST_F(Inspect, PicklesAndTransformersAreNamedAndRefused) {
  std::ofstream(folder_ / "x.ckpt") << "PK\x03\x04 and so on";
  Outcome outcome = run({"inspect", "--json", "x.ckpt"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(parse(outcome)["kind"], "pickle");
  EXPECT_TRUE(contains(outcome.err, "save_file")) << outcome.err;
  outcome =
      run({"inspect", "--json", write("dit.safetensors", {{"transformer_blocks.0.norm1.emb.class_embedder.x", {4}}})});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(parse(outcome)["family"], "DiT");
  EXPECT_TRUE(contains(outcome.err, "not supported")) << outcome.err;
}

TEST_F(Inspect, HostileFilesEndInOneLine) {
  std::ofstream(folder_ / "empty") << "";
  std::ofstream(folder_ / "garbage") << "no model at all, but 32 bytes long or more";
  const std::uint64_t size = 2'000'000;
  std::ofstream(folder_ / "deep").write(reinterpret_cast<const char*>(&size), 8)
      << "{\"a\":" << std::string(size - 5, '[');
  write("cut", {{"a", {100}}});
  fs::resize_file(folder_ / "cut", 150);
  std::ofstream(folder_ / "cut.png", std::ios::binary) << "\x89PNG\r\n\x1a\n";
  fs::create_directory(folder_ / "folder");
  fs::create_directory(folder_ / "loop");
  fs::create_symlink("model_index.json", folder_ / "loop/model_index.json");
  fs::create_symlink("self", folder_ / "self");
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder_ / "pipes");
  ASSERT_EQ(mkfifo((folder_ / "pipes/model_index.json").c_str(), 0600), 0);
  for (const char* path : {"empty", "garbage", "deep", "cut", "cut.png", "folder", "loop", "self", "pipe", "pipes",
                           "/dev/zero", "missing"}) {
    const Outcome outcome = run({"inspect", path});
    EXPECT_EQ(outcome.exit_code, 3) << path;
    EXPECT_EQ(outcome.out, "") << path;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, path)) << outcome.err;
  }
}

}  // namespace
}  // namespace sdgen::test
