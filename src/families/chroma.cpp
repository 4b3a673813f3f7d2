// Chroma1 (Lodestone Rock, 2025): Flux.1's flow and autoencoder, a transformer that was trained anew from schnell and
// is guided, and T5 with a mask.
#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/chroma_transformer.h"

namespace sdgen {
namespace {

Conditioning join_chroma(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[0].states;
  c.context_mask = prompt[0].mask;
  return c;
}

ChromaConfig config_of_chroma(const ModelFiles& model) { return ChromaConfig::from(model.at("transformer").config); }

void require_fit_of_chroma(const ModelFiles& model) {
  const ChromaConfig config = config_of_chroma(model);
  const std::int64_t drawn = autoencoder_info(model.at("vae")).latent_channels * kFluxPatch * kFluxPatch,
                     context = T5Config::from(model.at("text_encoder").config).width;
  const auto fail = [&model](const auto&... what) {
    throw Error(Fault::input,
                concat(model.who(), ": the transformer's ", what..., ": they belong to different models"));
  };
  if (config.in_channels != drawn)
    fail("in_channels is ", config.in_channels, ", four of the autoencoder's latents make ", drawn);
  if (config.out_channels != drawn)
    fail("out_channels is ", config.out_channels, ", four of the autoencoder's latents make ", drawn);
  if (config.context_width != context)
    fail("joint_attention_dim is ", config.context_width, ", T5's d_model ", context);
}

std::string name_of_chroma(const ModelFiles&) { return "Chroma1"; }

Size native_size_of_chroma(const ModelFiles& model) {
  const auto side = static_cast<int>(128 * autoencoder_info(model.at("vae")).factor);  // 128 latents
  return {side, side};
}

Parts assemble_chroma(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  require_fit_of_chroma(model);
  const TransformerInputs inputs{.text = {.encoders = {&model.at("text_encoder")},
                                          .join = join_chroma,
                                          .max_sequence_length = 512,
                                          .t5_padding = T5Encoder::Padding::looks},
                                 .scaling = kFluxScaling,
                                 .patch = kFluxPatch};
  Parts parts = assemble_transformer<ChromaTransformer>(model, config_of_chroma(model), family, inputs, options, warn);
  if (!parts.defaults.negative_prompt) parts.defaults.negative_prompt = "";
  return parts;
}

Family chroma_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 35, .guidance_scale = 5.0, .strength = 0.9},
          .repaint = {.steps = 28, .guidance_scale = 7.0, .strength = 0.6, .max_sequence_length = 256},
          .rules = {.quirks = PipelineQuirks::none,
                    .repaint_quirks = PipelineQuirks::none,
                    .strength_rounds_up = true,
                    .even_sigmas = true},
          .name = name_of_chroma,
          .native_size = native_size_of_chroma,
          .require_fit = require_fit_of_chroma,
          .assemble = assemble_chroma};
}

}  // namespace

std::vector<Family> chroma_families() {
  return {chroma_family("ChromaImg2ImgPipeline"), chroma_family("ChromaInpaintPipeline"),
          chroma_family("ChromaPipeline")};
}

}  // namespace sdgen
