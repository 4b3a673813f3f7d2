// Stable Diffusion 3 and 3.5 (Esser et al., 2024): a transformer on the latents of an autoencoder with 16 channels. It
// is told what CLIP-L and OpenCLIP's bigG make of the prompt, side by side, with T5's answer behind them, and the two
// CLIPs' summaries.
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/zeros.h>

#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/sd3_transformer.h"

namespace sdgen {
namespace {

struct Sd3Text {
  TextInputs inputs;
  std::int64_t context_width = 0, pooled_width = 0;  // of the CLIPs together; of T5 alone, where there is one
  std::int64_t t5_width = 0;
};

Sd3Text text_of(const ModelFiles& model, const Sd3Config& config) {
  Sd3Text text;
  for (const char* name : {"text_encoder", "text_encoder_2"}) {
    const Component& encoder = model.at(name);
    const ClipTextConfig clip = ClipTextConfig::from(encoder.config);
    text.inputs.encoders.push_back(&encoder);
    text.context_width += clip.width;
    text.pooled_width += clip.projection_width;
  }
  if (const Component* t5 = model.find("text_encoder_3")) {
    text.inputs.encoders.push_back(t5);
    text.t5_width = T5Config::from(t5->config).width;
  }
  text.inputs.states = {.left_out = 1, .normed = false};
  text.inputs.max_sequence_length = 256;
  text.inputs.join = [width = config.context_width](std::span<const Encoded> prompt, const TextSettings& settings) {
    const at::Tensor clips = at::cat({prompt[0].states, prompt[1].states}, -1);
    const at::Tensor wide = at::constant_pad_nd(clips, {0, width - clips.size(2)});
    const at::Tensor t5 = prompt.size() > 2 ? prompt[2].states.to(clips.options())
                                            : at::zeros({1, settings.max_sequence_length, width}, clips.options());
    Conditioning c;
    c.context = at::cat({wide, t5}, 1);
    c.pooled = at::cat({prompt[0].pooled, prompt[1].pooled}, -1);
    return c;
  };
  return text;
}

void require_fit(const ModelFiles& model, const Sd3Config& config, const Sd3Text& text) {
  const std::int64_t latent = autoencoder_info(model.at("vae")).latent_channels;
  const auto fail = [&model](const auto&... what) { throw Error(Fault::input, concat(model.who(), ": ", what...)); };
  if (config.in_channels != latent || config.out_channels != latent)
    fail("the transformer takes ", config.in_channels, " channels and gives ", config.out_channels,
         ", the autoencoder's latents have ", latent, ": they belong to different models");
  if (text.context_width > config.context_width)
    fail("the transformer's joint_attention_dim is ", config.context_width, ", the CLIPs' hidden_size together ",
         text.context_width, ": they belong to different models");
  if (text.t5_width != 0 && text.t5_width != config.context_width)
    fail("the transformer's joint_attention_dim is ", config.context_width, ", T5's d_model ", text.t5_width,
         ": they belong to different models");
  if (text.pooled_width != config.pooled_width)
    fail("the transformer's pooled_projection_dim is ", config.pooled_width, ", the CLIPs' projection_dim together ",
         text.pooled_width, ": they belong to different models");
}

Sd3Config config_of(const ModelFiles& model) { return Sd3Config::from(model.at("transformer").config); }

void require_fit_of_sd3(const ModelFiles& model) {
  const Sd3Config config = config_of(model);
  require_fit(model, config, text_of(model, config));
}

std::string name_of_sd3(const ModelFiles& model) {
  return config_of(model).qk_norm ? "Stable Diffusion 3.5" : "Stable Diffusion 3";
}

Size native_size_of_sd3(const ModelFiles& model) {
  const int side = static_cast<int>(config_of(model).sample_size * autoencoder_info(model.at("vae")).factor);
  return {side, side};
}

Parts assemble_sd3(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  const Sd3Config config = config_of(model);
  const Sd3Text text = text_of(model, config);
  require_fit(model, config, text);
  TransformerInputs inputs{text.inputs, kSd3Scaling, config.patch, /*keeps_shift_in_repaints=*/true, /*steered=*/true};
  Parts parts = assemble_transformer<Sd3Transformer>(model, config, family, inputs, options, warn);
  parts.latents.most = std::min(config.table_size * parts.latents.multiple, parts.steering.most);
  parts.skippable_layers = config.layers;
  if (!parts.defaults.negative_prompt) parts.defaults.negative_prompt = "";
  return parts;
}

Family sd3_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 28, .guidance_scale = 7.0, .strength = 0.6},
          .rules = {.quirks = PipelineQuirks::none, .repaint_quirks = PipelineQuirks::none, .strength_rounds_up = true},
          .name = name_of_sd3,
          .native_size = native_size_of_sd3,
          .require_fit = require_fit_of_sd3,
          .assemble = assemble_sd3};
}

}  // namespace

std::vector<Family> sd3_families() {
  return {sd3_family("StableDiffusion3Pipeline"), sd3_family("StableDiffusion3Img2ImgPipeline"),
          sd3_family("StableDiffusion3InpaintPipeline")};
}

}  // namespace sdgen
