#include "families/transformer.h"

namespace sdgen {
namespace {

std::string not_yet(const ModelFiles& model, const Family& family, const char* what) {
  return concat(model.path.string(), " is a ", family.pipeline, ", for which ", what, " are not supported yet");
}

void refuse_steering(const ModelFiles& model, const Family& family, const TransformerInputs& inputs,
                     const AssembleOptions& options) {
  const auto refuse = [&](const char* field, const char* what) {
    throw Error(Fault::usage, concat(FieldName{field}, ": ", not_yet(model, family, what)));
  };
  if (!options.controlnets.empty() && !inputs.steered) refuse("controlnets", "ControlNets");
  if (!options.adapters.empty()) refuse("adapters", "adapters");
}

[[noreturn]] void misfit(const ModelFiles& model, const std::string& what) {
  throw Error(Fault::input, concat(model.who(), ": the transformer's ", what, ": they belong to different models"));
}

}  // namespace

Conditioning join_states(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[0].states;
  return c;
}

void require_latents(const ModelFiles& model, const char* key, std::int64_t channels) {
  const std::int64_t latent = autoencoder_info(model.at("vae")).latent_channels;
  if (channels != latent)
    misfit(model, concat(key, " is ", channels, ", the autoencoder's latents have ", latent, " channels"));
}

void require_language_model(const ModelFiles& model, const char* key, std::int64_t width) {
  const std::int64_t own = DecoderTextConfig::from(model.at("text_encoder").config).width;
  if (width != own)
    throw Error(Fault::input,
                concat(model.who(), ": the transformer's ", key, " is ", width, ", the language model's hidden_size ",
                       own, ": they belong to different models", wanted_language_model(model, width)));
}

std::shared_ptr<LoraFits> transformer_loras(const ModelFiles& model, const Component& transformer, const Family& family,
                                            const TransformerInputs& inputs, const AssembleOptions& options) {
  std::vector<const Component*> changed{&transformer};
  changed.insert(changed.end(), inputs.text.encoders.begin(), inputs.text.encoders.end());
  return lora_fits(changed, family.name(model), options);
}

Parts transformer_parts(const ModelFiles& model, const Component& transformer, const Family& family,
                        const TransformerInputs& inputs, const std::shared_ptr<LoraFits>& fits,
                        const AssembleOptions& options, const Warn& warn) {
  refuse_steering(model, family, inputs, options);
  const Component autoencoder = choose_autoencoder(model, options, inputs.scaling);
  require_autoencoder(model, autoencoder);
  const AutoencoderInfo latents = autoencoder_info(autoencoder);
  const Defaults authors = read_defaults(model);
  const at::ScalarType dtype =
      choose_dtype(options.precision, options.device, stored_dtype(*transformer.tensors, transformer.prefix));
  Parts parts{.family = family.pipeline,
              .device = options.device,
              .dtype = dtype,
              .latents = {.channels = latents.latent_channels,
                          .factor = latents.factor,
                          .multiple = latents.factor * inputs.patch,
                          .patch = inputs.patch,
                          .offset = latents.offset,
                          .repaint_offset = inputs.keeps_shift_in_repaints ? latents.offset : 0},
              .picture = picture_part(autoencoder, dtype, options),
              .scheduler = model.scheduler,
              .rules = family.rules};
  for (const Component* encoder : inputs.text.encoders) check_network(*encoder, warn);
  add_text(parts, model, inputs.text, fits, options);
  check_network(autoencoder, warn);
  set_defaults(parts, family, authors, family.native_size(model));
  return parts;
}

}  // namespace sdgen
