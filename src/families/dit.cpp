// DiT (Peebles and Xie, 2023): a transformer on the latents of Stable Diffusion's autoencoder that draws pictures of
// one size, of a class.
#include "families/transformer.h"
#include "formats/original_layout.h"
#include "model/class_conditioner.h"
#include "nn/dit_transformer.h"

namespace sdgen {
namespace {

DiTConfig config_of_dit(const ModelFiles& model) { return DiTConfig::from(model.at("transformer").config); }

void require_fit_of_dit(const ModelFiles& model) {
  const DiTConfig config = config_of_dit(model);
  const std::int64_t latent = autoencoder_info(model.at("vae")).latent_channels;
  if (config.in_channels != latent)
    throw Error(Fault::input, concat(model.who(), ": the transformer's in_channels is ", config.in_channels,
                                     ", the autoencoder's latents have ", latent, ": they belong to different models"));
  ClassNames(model.index, config.classes);
}

std::string name_of_dit(const ModelFiles&) { return "DiT"; }

Size native_size_of_dit(const ModelFiles& model) {
  const int side = static_cast<int>(config_of_dit(model).sample_size * autoencoder_info(model.at("vae")).factor);
  return {side, side};
}

Parts assemble_dit(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  require_fit_of_dit(model);
  const DiTConfig config = config_of_dit(model);
  Parts parts =
      assemble_transformer<DiTTransformer>(model, config, family, {{}, kSdScaling, config.patch}, options, warn);
  // Its positions are those of one size.
  parts.latents.multiple = config.sample_size * parts.latents.factor;
  parts.latents.most = parts.latents.multiple;
  const auto names = std::make_shared<const ClassNames>(model.index, config.classes);
  parts.text->classes = names;
  parts.text->make = [names, none = config.classes, device = options.device](std::span<const Lora>) {
    return std::make_unique<ClassConditioner>(names, none, device);
  };
  if (parts.defaults.negative_prompt)
    throw Error(Fault::input, concat((model.path / "sdgen.json").string(), ": negative_prompt means nothing to a ",
                                     family.pipeline, ", which draws classes"));
  return parts;
}

}  // namespace

std::vector<Family> dit_families() {
  return {{.pipeline = "DiTPipeline",
           .defaults = {.steps = 50, .guidance_scale = 4.0},
           .rules = {.quirks = PipelineQuirks::none, .repaint_quirks = PipelineQuirks::none},
           .name = name_of_dit,
           .native_size = native_size_of_dit,
           .require_fit = require_fit_of_dit,
           .assemble = assemble_dit}};
}

}  // namespace sdgen
