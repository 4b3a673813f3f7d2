// Stable Diffusion 1 and 2 (Rombach et al., 2022): the U-Net looks at what one CLIP text encoder makes of the prompt in
// its last layer, after the final norm. Version 2 has OpenCLIP's encoder, without its last layer.
#include "families/latent_unet.h"
#include "formats/original_layout.h"

namespace sdgen {
namespace {

Conditioning join_sd(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[0].states;
  return c;
}

UNetInputs inputs_of_sd(const ModelFiles& model) {
  const Component& encoder = model.at("text_encoder");
  const std::int64_t width = ClipTextConfig::from(encoder.config).width;
  return {.text = {{&encoder}, ClipStates{.left_out = 0, .normed = true}, join_sd},
          .context_width = width,
          .scaling = kSdScaling,
          // The last layer of version 2's encoder is in single files.
          .unread_is_usual = !model.folder};
}

std::string name_of_sd(const ModelFiles& model) {
  const Component* encoder = model.find("text_encoder");
  // OpenCLIP's encoder has exact GELUs.
  const bool second = encoder && encoder->config.string("hidden_act", "quick_gelu") == "gelu";
  return with_variant(second ? "Stable Diffusion 2" : "Stable Diffusion 1", model);
}

void require_fit_of_sd(const ModelFiles& model) { require_unet_takes(inputs_of_sd(model), model); }

Parts assemble_sd(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  return assemble_latent_unet(model, family, inputs_of_sd(model), options, warn);
}

Family sd_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 50, .guidance_scale = 7.5, .strength = 0.8},
          .repaint = {.strength = 1.0},
          .name = name_of_sd,
          .native_size = native_size_in_latents,
          .require_fit = require_fit_of_sd,
          .assemble = assemble_sd};
}

}  // namespace

std::vector<Family> sd_families() {
  Family depth = sd_family("StableDiffusionDepth2ImgPipeline");
  depth.rules = {PipelineQuirks::none, PipelineQuirks::none};
  // Distilled into a few steps, and on the guidance scale (Luo et al., 2023).
  Family lcm = sd_family("LatentConsistencyModelPipeline");
  lcm.defaults = {.steps = 4, .guidance_scale = 8.5, .strength = 0.8};
  lcm.rules.strength_spreads = true;
  return {sd_family("StableDiffusionPipeline"), sd_family("StableDiffusionImg2ImgPipeline"),
          sd_family("StableDiffusionInpaintPipeline"), depth, lcm};
}

}  // namespace sdgen
