// Folders of small models: the U-Nets of the fixtures, encoders of random numbers, the rest from tiny-sd.
#pragma once

#include <ATen/ops/randn.h>

#include "core/fixture.h"
#include "core/tensor_files.h"

namespace sdgen::test {

namespace fs = std::filesystem;

const fs::path kTinySd = fs::path(SDGEN_FIXTURES) / "tiny-sd";

class TinyModels {
 public:
  // A network's weights in a fixture.
  static Tensors tensors_of(const Fixture& fixture) {
    Tensors tensors;
    for (const auto& [name, entry] : fixture.file().tensors())
      if (name.starts_with("w.")) tensors[name.substr(2)] = fixture.tensor(name);
    return tensors;
  }
  void model(const std::string& folder, const char* unet_fixture, const Json& more) {
    fs::create_directory(scratch_ / folder);
    const Fixture unet(unet_fixture);
    component(folder + "/unet", "diffusion_pytorch_model", unet.json("config"), tensors_of(unet));
    for (const auto& [from, to] : {std::pair{"vae", "vae"},
                                   {"scheduler", "scheduler"},
                                   {"tokenizer", "tokenizer"},
                                   {"tokenizer", "tokenizer_2"}})
      fs::copy(kTinySd / from, scratch_ / (folder + "/" + to), fs::copy_options::recursive);
    index(folder, more);
  }
  void component(const std::string& name, const std::string& stem, const Json& config, const Tensors& tensors) {
    fs::create_directory(scratch_ / name);
    scratch_.write(name + "/config.json", config.dump());
    write_tensors(scratch_, name + "/" + stem + ".safetensors", tensors);
  }
  // Of two layers.
  void text_encoder(const std::string& name, std::int64_t width, std::int64_t projection) {
    Tensors all;
    const auto add = [&all](const std::string& key, at::IntArrayRef shape) { all[key] = at::randn(shape, at::kFloat); };
    const auto layer = [&](const std::string& key, std::int64_t out, std::int64_t in) {
      add(key + ".weight", {out, in}), add(key + ".bias", {out});
    };
    const auto norm = [&](const std::string& key) { add(key + ".weight", {width}), add(key + ".bias", {width}); };
    add("text_model.embeddings.token_embedding.weight", {634, width});
    add("text_model.embeddings.position_embedding.weight", {77, width});
    for (int i = 0; i < 2; ++i) {
      const std::string block = concat("text_model.encoder.layers.", i, '.');
      for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"})
        layer(block + "self_attn." + part, width, width);
      layer(block + "mlp.fc1", 8, width), layer(block + "mlp.fc2", width, 8);
      norm(block + "layer_norm1"), norm(block + "layer_norm2");
    }
    norm("text_model.final_layer_norm");
    if (projection) add("text_projection.weight", {projection, width});
    Json config = {{"hidden_size", width},     {"intermediate_size", 8}, {"num_hidden_layers", 2},
                   {"num_attention_heads", 1}, {"vocab_size", 634},      {"eos_token_id", 633}};
    if (projection) config["projection_dim"] = projection;
    component(name, "model", config, all);
  }
  void index(const std::string& folder, const Json& more) {
    Json json = {{"_class_name", "StableDiffusionXLPipeline"}};
    json.update(more);
    scratch_.write(folder + "/model_index.json", json.dump());
  }
  fs::path xl() {
    model("base", "layers/unet-sdxl", Json::object());
    // The two encoders make the U-Net's eight.
    text_encoder("base/text_encoder", 4, 0);
    text_encoder("base/text_encoder_2", 4, 10);
    return scratch_ / "base";
  }
  // A model that finishes the base's pictures: it has the second encoder alone, and wants a score.
  fs::path refiner() {
    model("refiner", "layers/unet-refiner", {{"requires_aesthetics_score", true}});
    text_encoder("refiner/text_encoder_2", 8, 10);
    return scratch_ / "refiner";
  }
  // Stable Diffusion 3.5 medium with all its encoders, and the autoencoder of tiny-sd.
  // `loudness`: of what the transformer makes of the prompt.
  fs::path sd35(double loudness = 1) {
    const Fixture net("layers/sd35");
    const std::string folder = "sd35";
    if (fs::exists(scratch_ / folder)) return scratch_ / folder;
    Tensors tensors = tensors_of(net);
    tensors["pos_embed.proj.weight"] = at::randn({16, 4, 2, 2}, at::kFloat);
    tensors["context_embedder.weight"] = loudness * at::randn({16, 24}, at::kFloat);
    tensors["proj_out.weight"] = at::randn({16, 16}, at::kFloat);
    tensors["proj_out.bias"] = at::randn({16}, at::kFloat);
    Json config = net.json("config");
    config.update({{"in_channels", 4}, {"out_channels", 4}, {"joint_attention_dim", 24}});
    transformer(folder, "StableDiffusion3Pipeline", config, tensors,
                {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 3.0}});
    text_encoder(folder + "/text_encoder", 4, 4);
    text_encoder(folder + "/text_encoder_2", 8, 8);
    for (const char* name : {"tokenizer", "tokenizer_2"}) copy(kTinySd / "tokenizer", folder + "/" + name);
    t5_encoder(folder, "_3");
    return scratch_ / folder;
  }
  // Flux.1 of any pipeline, of which it has the channels, and the autoencoder of tiny-sd: factor 4, so that a mask's
  // every pixel makes 16 channels.
  fs::path flux(const std::string& pipeline, bool guidance = true) {
    const Fixture net("layers/flux");
    const std::string folder = pipeline + (guidance ? "" : "-schnell");
    if (fs::exists(scratch_ / folder)) return scratch_ / folder;
    Tensors tensors = tensors_of(net);
    const std::int64_t taken = pipeline == "FluxFillPipeline" ? 96 : pipeline == "FluxControlPipeline" ? 32 : 16;
    tensors["x_embedder.weight"] = at::randn({24, taken}, at::kFloat) * 0.3;
    tensors["context_embedder.weight"] = at::randn({24, 24}, at::kFloat) * 0.3;
    tensors["time_text_embed.text_embedder.linear_1.weight"] = at::randn({24, 8}, at::kFloat) * 0.3;
    if (!guidance)
      std::erase_if(tensors, [](const auto& t) { return t.first.find("guidance_embedder") != std::string::npos; });
    Json config = net.json("config");
    config.update({{"in_channels", taken},
                   {"out_channels", 16},
                   {"joint_attention_dim", 24},
                   {"pooled_projection_dim", 8},
                   {"guidance_embeds", guidance}});
    transformer(folder, pipeline.c_str(), config, tensors,
                {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 3.0}});
    text_encoder(folder + "/text_encoder", 8, 0);
    t5_encoder(folder, "_2");
    copy(kTinySd / "tokenizer", folder + "/tokenizer");
    index(folder, {{"_class_name", pipeline}, {"text_encoder_2", {"transformers", "T5EncoderModel"}}});
    return scratch_ / folder;
  }
  // For sd35(), and for flux(): a ControlNet of a fixture, whose channels become theirs.
  fs::path sd3_controlnet(const char* name, Json change = Json::object()) {
    const Fixture net(std::string("layers/sd3-controlnet-") + name);
    Tensors tensors = tensors_of(net);
    tensors["pos_embed.proj.weight"] = at::randn({16, 4, 2, 2}, at::kFloat);
    tensors["pos_embed_input.proj.weight"] = at::randn({16, 4, 2, 2}, at::kFloat);
    tensors["context_embedder.weight"] = at::randn({16, 24}, at::kFloat);
    Json config = net.json("config");
    config.update({{"in_channels", 4}, {"joint_attention_dim", 24}});
    config.update(change);
    return controlnet(concat("sd3-controlnet-", name), config, tensors);
  }
  fs::path flux_controlnet(const char* name, Json change = Json::object()) {
    const Fixture net(std::string("layers/flux-controlnet-") + name);
    Tensors tensors = tensors_of(net);
    tensors["context_embedder.weight"] = at::randn({24, 24}, at::kFloat) * 0.3;
    tensors["time_text_embed.text_embedder.linear_1.weight"] = at::randn({24, 8}, at::kFloat) * 0.3;
    Json config = net.json("config");
    config.update({{"joint_attention_dim", 24}, {"pooled_projection_dim", 8}});
    config.update(change);
    return controlnet(concat("flux-controlnet-", name), config, tensors);
  }
  fs::path controlnet(const std::string& folder, const Json& config, const Tensors& tensors) {
    component(folder, "diffusion_pytorch_model", config, tensors);
    return scratch_ / folder;
  }
  fs::path pixart() {
    const Fixture net("layers/pixart");
    const std::string folder = "pixart";
    Tensors tensors = tensors_of(net);
    tensors["caption_projection.linear_1.weight"] = at::randn({12, 24}, at::kFloat);
    Json config = net.json("config");
    config["caption_channels"] = 24;
    transformer(folder, "PixArtAlphaPipeline", config, tensors, {{"_class_name", "DPMSolverMultistepScheduler"}});
    t5_encoder(folder, "");
    index(folder, {{"_class_name", "PixArtAlphaPipeline"}, {"text_encoder", {"transformers", "T5EncoderModel"}}});
    return scratch_ / folder;
  }
  // Of the autoencoder of tiny-sd.
  fs::path z_image() {
    const Fixture net("layers/z-image"), qwen3("layers/qwen3");
    const std::string folder = "z-image";
    Tensors tensors = tensors_of(net), text = tensors_of(qwen3);
    tensors["cap_embedder.0.weight"] = at::ones({24}, at::kFloat);
    tensors["cap_embedder.1.weight"] = at::randn({32, 24}, at::kFloat);
    text["embed_tokens.weight"] = at::randn({1000, 24}, at::kFloat);
    Json config = net.json("config"), of_text = qwen3.json("config");
    config["cap_feat_dim"] = 24;
    of_text["vocab_size"] = 1000;
    transformer(folder, "ZImagePipeline", config, tensors,
                {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 3.0}});
    component(folder + "/text_encoder", "model", of_text, text);
    copy(fs::path(SDGEN_FIXTURES) / "tokenizers" / "qwen", folder + "/tokenizer");
    index(folder, {{"_class_name", "ZImagePipeline"}, {"text_encoder", {"transformers", "Qwen3Model"}}});
    return scratch_ / folder;
  }
  fs::path dit() {
    const Fixture net("layers/dit");
    transformer("dit", "DiTPipeline", net.json("config"), tensors_of(net), {{"_class_name", "DDIMScheduler"}});
    return scratch_ / "dit";
  }

  // A diffusion transformer's folder, without what reads its prompts.
  void transformer(const std::string& folder, const char* pipeline, const Json& config, const Tensors& tensors,
                   const Json& scheduler) {
    fs::create_directory(scratch_ / folder);
    component(folder + "/transformer", "diffusion_pytorch_model", config, tensors);
    copy(kTinySd / "vae", folder + "/vae");
    fs::create_directory(scratch_ / (folder + "/scheduler"));
    scratch_.write(folder + "/scheduler/scheduler_config.json", scheduler.dump());
    index(folder, {{"_class_name", pipeline}});
  }
  // 24 wide.
  void t5_encoder(const std::string& folder, const std::string& suffix) {
    const Fixture t5("layers/t5");
    Tensors tensors = tensors_of(t5);
    tensors["shared.weight"] = at::randn({1000, 24}, at::kFloat);
    Json config = t5.json("config");
    config["vocab_size"] = 1000;
    component(folder + "/text_encoder" + suffix, "model", config, tensors);
    copy(fs::path(SDGEN_FIXTURES) / "tokenizers" / "t5", folder + "/tokenizer" + suffix);
  }
  void copy(const fs::path& from, const std::string& to) { fs::copy(from, scratch_ / to, fs::copy_options::recursive); }

 protected:
  const Scratch scratch_;
};

}  // namespace sdgen::test
