// Lumina-Image 2.0 (Qin et al., 2025): a flow on the latents of Flux's autoencoder, whose transformer is told what
// Gemma 2 makes of the prompt, behind a sentence that says what it is for.
#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/lumina2_transformer.h"

namespace sdgen {
namespace {

// system_prompt of diffusers' Lumina2Pipeline, which negative prompts do not get.
constexpr const char* kPurpose =
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on "
    "textual prompts or user prompts. <Prompt Start> ";

Lumina2Config config_of_lumina2(const ModelFiles& model) { return Lumina2Config::from(model.at("transformer").config); }

void require_fit_of_lumina2(const ModelFiles& model) {
  const Lumina2Config config = config_of_lumina2(model);
  require_latents(model, "in_channels", config.channels);
  require_language_model(model, "cap_feat_dim", config.caption_width);
}

Size native_size_of_lumina2(const ModelFiles& model) {
  const auto side = static_cast<int>(config_of_lumina2(model).sample_size * autoencoder_info(model.at("vae")).factor);
  return {side, side};
}

Parts assemble_lumina2(const ModelFiles& model, const Family& family, const AssembleOptions& options,
                       const Warn& warn) {
  require_fit_of_lumina2(model);
  const Lumina2Config config = config_of_lumina2(model);
  const TextInputs text{
      .encoders = {&model.at("text_encoder")},
      .join = join_states,
      .max_sequence_length = 256,
      .decoder = {.frame = {.before = kPurpose, .after = ""}, .negative_frame = PromptFrame(), .states = {-2}}};
  const TransformerInputs inputs{.text = text, .scaling = kFluxScaling, .patch = config.patch};
  Parts parts = assemble_transformer<Lumina2Transformer>(model, config, family, inputs, options, warn);
  parts.kept_norms = KeptNorms::of_rows;
  if (!parts.defaults.negative_prompt) parts.defaults.negative_prompt = "";
  return parts;
}

}  // namespace

std::vector<Family> lumina2_families() {
  return {{.pipeline = "Lumina2Pipeline",
           .defaults = {.steps = 30, .guidance_scale = 4.0, .strength = 0.6},
           .rules = {.quirks = PipelineQuirks::none,
                     .repaint_quirks = PipelineQuirks::none,
                     .strength_rounds_up = true,
                     .even_sigmas = true,
                     .counts_channels = true},
           .name = [](const ModelFiles&) { return std::string("Lumina-Image 2"); },
           .native_size = native_size_of_lumina2,
           .require_fit = require_fit_of_lumina2,
           .assemble = assemble_lumina2}};
}

}  // namespace sdgen
