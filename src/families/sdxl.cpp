// Stable Diffusion XL and its refiner (Podell et al., 2023): the U-Net looks at what two CLIP text encoders make of the
// prompt in their last but one layers, side by side, and is told the second one's summary and the picture's sizes. The
// refiner has the second encoder alone, and was trained on the last noise levels.
#include "families/sdxl.h"

#include <ATen/ops/cat.h>

#include "families/latent_unet.h"
#include "formats/original_layout.h"

namespace sdgen {
namespace {

std::vector<float> original_and_crop(const Request& r, Point crop) {
  const Size original = r.sizes.original_size.value_or(Size{*r.width, *r.height});
  return {float(original.height), float(original.width), float(crop.top), float(crop.left)};
}

std::vector<float> sdxl_sizes(const Request& r, bool) {
  std::vector<float> all = original_and_crop(r, r.sizes.crop.value_or(Point{}));
  const Size target = r.sizes.target_size.value_or(Size{*r.width, *r.height});
  all.insert(all.end(), {float(target.height), float(target.width)});
  return all;
}

// diffusers describes the negative prompt's picture as uncropped and as an ugly one.
std::vector<float> refiner_sizes(const Request& r, bool negative) {
  std::vector<float> all = original_and_crop(r, negative ? Point{} : r.sizes.crop.value_or(Point{}));
  all.push_back(negative ? 2.5f : 6.0f);
  return all;
}

Conditioning join_sdxl(std::span<const Encoded> prompt, const TextSettings&) {
  std::vector<at::Tensor> states;
  for (const Encoded& one : prompt) states.push_back(one.states);
  Conditioning c;
  c.context = at::cat(states, -1);
  c.pooled = prompt.back().pooled;
  return c;
}

bool is_refiner(const ModelFiles& model) { return model.index.boolean("requires_aesthetics_score", false); }

UNetInputs inputs_of_sdxl(const ModelFiles& model) {
  UNetInputs inputs;
  inputs.text = {model.with(Role::text_encoder), ClipStates{.left_out = 1, .normed = false}, join_sdxl};
  if (inputs.text.encoders.empty()) model.at("text_encoder");  // throws
  for (const Component* encoder : inputs.text.encoders) {
    const ClipTextConfig config = ClipTextConfig::from(encoder->config);
    inputs.context_width += config.width;
    inputs.pooled_width = config.projection_width;
  }
  inputs.sizes = is_refiner(model) ? kRefinerSizes : kSdxlSizes;
  inputs.scaling = kSdxlScaling;
  inputs.zero_empty_negative = model.index.boolean("force_zeros_for_empty_prompt", true);
  return inputs;
}

std::string name_of_sdxl(const ModelFiles& model) {
  return with_variant(model.find("text_encoder") ? "SDXL" : "SDXL refiner", model);
}

void require_fit_of_sdxl(const ModelFiles& model) { require_unet_takes(inputs_of_sdxl(model), model); }

Parts assemble_sdxl(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  Parts parts = assemble_latent_unet(model, family, inputs_of_sdxl(model), options, warn);
  parts.refinable = true;
  parts.finishes = is_refiner(model);
  return parts;
}

Family sdxl_family(const char* pipeline, double guidance_scale) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 50, .guidance_scale = guidance_scale, .strength = 0.3},
          .repaint = {.guidance_scale = 7.5, .strength = 0.9999},
          .rules = {.repaint_quirks = PipelineQuirks::stable_diffusion},
          .name = name_of_sdxl,
          .native_size = native_size_in_latents,
          .require_fit = require_fit_of_sdxl,
          .assemble = assemble_sdxl};
}

}  // namespace

const SizeInputs kSdxlSizes{6, sdxl_sizes}, kRefinerSizes{5, refiner_sizes};

std::vector<Family> sdxl_families() {
  return {sdxl_family("StableDiffusionXLPipeline", 5.0), sdxl_family("StableDiffusionXLImg2ImgPipeline", 5.0),
          sdxl_family("StableDiffusionXLInpaintPipeline", 7.5)};
}

}  // namespace sdgen
