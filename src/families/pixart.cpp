// PixArt-alpha and PixArt-Sigma (Chen et al., 2023 and 2024): a transformer on the latents of Stable Diffusion's
// autoencoder, or SDXL's, that is told what T5 makes of the prompt, and draws pictures of a few sizes.
#include "families/drawn_sizes.h"
#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/pixart_transformer.h"

namespace sdgen {
namespace {

Conditioning join_pixart(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[0].states;
  c.context_mask = prompt[0].mask;
  return c;
}

PixArtConfig config_of_pixart(const ModelFiles& model) {
  PixArtConfig config = PixArtConfig::from(model.at("transformer").config);
  config.pixels = autoencoder_info(model.at("vae")).factor;
  return config;
}

void require_fit_of_pixart(const ModelFiles& model) {
  const PixArtConfig config = config_of_pixart(model);
  const std::int64_t latent = autoencoder_info(model.at("vae")).latent_channels,
                     text = T5Config::from(model.at("text_encoder").config).width;
  const auto fail = [&model](const auto&... what) {
    throw Error(Fault::input,
                concat(model.who(), ": the transformer's ", what..., ": they belong to different models"));
  };
  if (config.in_channels != latent)
    fail("in_channels is ", config.in_channels, ", the autoencoder's latents have ", latent);
  if (config.caption_width != text) fail("caption_channels is ", config.caption_width, ", T5's d_model ", text);
}

bool is_sigma(const Family& family) { return std::string_view(family.pipeline) == "PixArtSigmaPipeline"; }

std::string name_of_pixart(const ModelFiles& model) {
  return model.index.string("_class_name", "") == "PixArtSigmaPipeline" ? "PixArt-Sigma" : "PixArt-alpha";
}

Size native_size_of_pixart(const ModelFiles& model) {
  const PixArtConfig config = config_of_pixart(model);
  const int side = static_cast<int>(config.sample_size * config.pixels);
  return {side, side};
}

Parts assemble_pixart(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  require_fit_of_pixart(model);
  const PixArtConfig config = config_of_pixart(model);
  // The lengths that the two were trained with.
  const TextInputs text{.encoders = {&model.at("text_encoder")},
                        .join = join_pixart,
                        .max_sequence_length = is_sigma(family) ? 300 : 120,
                        .t5_padding = T5Encoder::Padding::masked,
                        .lower_case = true};
  const TransformerInputs inputs{text, is_sigma(family) ? kSdxlScaling : kSdScaling, config.patch};
  Parts parts = assemble_transformer<PixArtTransformer>(model, config, family, inputs, options, warn);
  parts.latents.drawn = drawn_sizes(config.sample_size);
  if (!parts.latents.drawn.empty()) parts.latents.multiple = 1;
  if (!parts.defaults.negative_prompt) parts.defaults.negative_prompt = "";
  return parts;
}

Family pixart_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 20, .guidance_scale = 4.5, .strength = 0.6},
          .rules = {.quirks = PipelineQuirks::none, .repaint_quirks = PipelineQuirks::none, .strength_rounds_up = true},
          .name = name_of_pixart,
          .native_size = native_size_of_pixart,
          .require_fit = require_fit_of_pixart,
          .assemble = assemble_pixart};
}

}  // namespace

std::vector<Family> pixart_families() {
  return {pixart_family("PixArtAlphaPipeline"), pixart_family("PixArtSigmaPipeline")};
}

}  // namespace sdgen
