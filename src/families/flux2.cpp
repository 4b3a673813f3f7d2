// FLUX.2 (Black Forest Labs, 2025): a flow on squares of latents that are brought to mean 0 and deviation 1, whose
// transformer is told what a language model makes of the prompt after a third, two thirds and all but the last of its
// layers, and may be shown pictures. klein is guided, or was distilled on guidance and few steps; dev is told a scale.
#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/flux2_transformer.h"

namespace sdgen {
namespace {

// Of the language model, as transformers numbers them, side by side.
const std::vector<std::int64_t> kFlux2States{9, 18, 27};

Conditioning join_flux2(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[0].states;
  return c;
}

Flux2Config config_of_flux2(const ModelFiles& model) { return Flux2Config::from(model.at("transformer").config); }

bool is_dev(const ModelFiles& model) { return model.index.string("_class_name", "") == "Flux2Pipeline"; }

bool is_distilled(const ModelFiles& model) { return model.index.boolean("is_distilled", false); }

void require_fit_of_flux2(const ModelFiles& model) {
  const auto fail = [&model](const auto&... what) { throw Error(Fault::input, concat(model.who(), ": ", what...)); };
  if (is_dev(model))
    fail("this is FLUX.2 dev, whose text encoder, Mistral Small 3.1, is not supported; FLUX.2 klein is");
  const Flux2Config config = config_of_flux2(model);
  const std::int64_t latents = autoencoder_info(model.at("vae")).latent_channels;
  const Component& text = model.at("text_encoder");
  if (text.type->architecture != Architecture::decoder_text)
    fail("its text encoder is a ", text.type->name, "; FLUX.2 klein's is a Qwen3ForCausalLM");
  const std::int64_t states = std::int64_t(kFlux2States.size()),
                     width = DecoderTextConfig::from(text.config).giving(kFlux2States, text.config.who()).width;
  const char* different = ": they belong to different models";
  if (config.in_channels != latents)
    fail("the transformer's in_channels is ", config.in_channels, ", the autoencoder's latents, four together, have ",
         latents, different);
  if (config.out_channels != latents)
    fail("the transformer's out_channels is ", config.out_channels, ", the autoencoder's latents, four together, have ",
         latents, different);
  if (config.context_width != states * width)
    fail("the transformer's joint_attention_dim is ", config.context_width, ", ", states,
         " of the language model's hidden states have ", states * width, different,
         wanted_language_model(model, config.context_width / states));
}

std::string name_of_flux2(const ModelFiles& model) {
  return is_dev(model) ? "FLUX.2 dev" : is_distilled(model) ? "FLUX.2 klein" : "FLUX.2 klein base";
}

Size native_size_of_flux2(const ModelFiles& model) {
  const auto side = static_cast<int>(64 * autoencoder_info(model.at("vae")).factor);  // 64 squares
  return {side, side};
}

Parts assemble_flux2(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  require_fit_of_flux2(model);
  const TransformerInputs inputs{.text = {.encoders = {&model.at("text_encoder")},
                                          .join = join_flux2,
                                          .max_sequence_length = 512,
                                          .decoder = {.frame = qwen_user_turn(/*thinking=*/false),
                                                      .states = kFlux2States,
                                                      .padding = DecoderPrompt::Padding::kept}},
                                 .scaling = kUnscaled,
                                 .patch = 1};
  const Flux2Config config = config_of_flux2(model);
  Parts parts = assemble_transformer<Flux2Transformer>(model, config, family, inputs, options, warn);
  parts.guidance_distilled = is_distilled(model);
  parts.takes_guidance_scale = !parts.guidance_distilled || config.guidance;
  if (!parts.guidance_distilled && !parts.defaults.negative_prompt) parts.defaults.negative_prompt = "";
  // What diffusers' pipeline takes (Flux2ImageProcessor).
  parts.shown = {
      .most = 10, .most_pixels = std::int64_t{1024} * 1024, .least_side = 64, .most_lengthy = 8, .gives_size = true};
  return parts;
}

Family flux2_family(const char* pipeline) {
  return {.pipeline = pipeline,
          .defaults = {.steps = 50, .guidance_scale = 4.0},
          .rules = {.quirks = PipelineQuirks::none,
                    .repaint_quirks = PipelineQuirks::none,
                    .even_sigmas = true,
                    .empirical_shift = true},
          .name = name_of_flux2,
          .native_size = native_size_of_flux2,
          .require_fit = require_fit_of_flux2,
          .assemble = assemble_flux2};
}

}  // namespace

std::vector<Family> flux2_families() { return {flux2_family("Flux2KleinPipeline"), flux2_family("Flux2Pipeline")}; }

}  // namespace sdgen
