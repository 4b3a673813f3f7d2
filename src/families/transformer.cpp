#include "families/transformer.h"

namespace sdgen {

void refuse_steering(const ModelFiles& model, const Family& family, const AssembleOptions& options) {
  const auto refuse = [&](const char* field, const char* what) {
    throw Error(Fault::usage, concat(FieldName{field}, ": ", model.path.string(), " is a ", family.pipeline,
                                     ", for which ", what, " are not supported yet"));
  };
  if (!options.controlnets.empty()) refuse("controlnets", "ControlNets");
  if (!options.adapters.empty()) refuse("adapters", "adapters");
}

Parts transformer_parts(const ModelFiles& model, const Component& transformer, const Family& family,
                        const TransformerInputs& inputs, const AssembleOptions& options, const Warn& warn) {
  refuse_steering(model, family, options);
  const Component autoencoder = choose_autoencoder(model, options, inputs.scaling);
  const AutoencoderInfo latents = autoencoder_info(autoencoder);
  const Defaults authors = read_defaults(model);
  const at::ScalarType dtype =
      choose_dtype(options.precision, options.device, stored_dtype(*transformer.tensors, transformer.prefix));
  Parts parts{.family = family.pipeline,
              .device = options.device,
              .dtype = dtype,
              .latents = {latents.latent_channels, latents.factor, latents.factor * inputs.patch, inputs.patch},
              .picture = picture_part(autoencoder, dtype, options),
              .scheduler = model.scheduler,
              .rules = family.rules};
  for (const Component* encoder : inputs.text.encoders) check_network(*encoder, warn);
  add_text(parts, model, inputs.text, nullptr, options);
  parts.lora_infos = [path = model.path.string(), pipeline = family.pipeline](std::span<const Lora> loras) {
    if (!loras.empty())
      throw Error(Fault::usage, concat(FieldName{"loras"}, ": ", path, " is a ", pipeline,
                                       ", for which LoRAs are not supported yet"));
    return std::vector<LoraInfo>();
  };
  check_network(autoencoder, warn);
  set_defaults(parts, family, authors, family.native_size(model));
  return parts;
}

}  // namespace sdgen
