// Z-Image and Z-Image-Turbo (Z-Image Team, 2025): a flow on the latents of Flux's autoencoder, whose transformer is
// told what Qwen3 makes of the prompt. The two have one pipeline, and the same tensors.
#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/z_image_transformer.h"

namespace sdgen {
namespace {

ZImageConfig config_of_z_image(const ModelFiles& model) { return ZImageConfig::from(model.at("transformer").config); }

void require_fit_of_z_image(const ModelFiles& model) {
  const ZImageConfig config = config_of_z_image(model);
  require_latents(model, "in_channels", config.channels);
  require_language_model(model, "cap_feat_dim", config.caption_width);
}

Size native_size_of_z_image(const ModelFiles& model) {
  const auto side = static_cast<int>(128 * autoencoder_info(model.at("vae")).factor);  // 128 latents
  return {side, side};
}

Parts assemble_z_image(const ModelFiles& model, const Family& family, const AssembleOptions& options,
                       const Warn& warn) {
  require_fit_of_z_image(model);
  const TextInputs text{.encoders = {&model.at("text_encoder")},
                        .join = join_states,
                        .max_sequence_length = 512,
                        .most_sequence_length = 1024,  // diffusers sets no bound; its places end at 1024 and 1536
                        .decoder = {.frame = qwen_user_turn(/*thinking=*/true), .states = {-2}}};
  const TransformerInputs inputs{.text = text, .scaling = kFluxScaling, .patch = kZImagePatch};
  Parts parts = assemble_transformer<ZImageTransformer>(model, config_of_z_image(model), family, inputs, options, warn);
  parts.neutral_guidance = 0;
  if (!parts.defaults.negative_prompt) parts.defaults.negative_prompt = "";
  return parts;
}

Family z_image_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 50, .guidance_scale = 5.0, .strength = 0.6},
          .repaint = {.strength = 1.0},
          .rules = {.quirks = PipelineQuirks::none,
                    .repaint_quirks = PipelineQuirks::none,
                    .strength_rounds_up = true,
                    .even_sigmas = true},
          .name = [](const ModelFiles&) { return std::string("Z-Image"); },
          .native_size = native_size_of_z_image,
          .require_fit = require_fit_of_z_image,
          .assemble = assemble_z_image};
}

}  // namespace

std::vector<Family> z_image_families() {
  return {z_image_family("ZImagePipeline"), z_image_family("ZImageImg2ImgPipeline"),
          z_image_family("ZImageInpaintPipeline")};
}

}  // namespace sdgen
