#include "families/latent_unet.h"

#include <numeric>

#include "device/device.h"
#include "families/networks.h"
#include "families/unet_step.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// What a U-Net's input channels are beside the latents; nothing for numbers that no pipeline gives.
std::optional<ExtraChannels> extra_channels(const UNetConfig& unet, std::int64_t latent_channels) {
  if (unet.in_channels == latent_channels) return ExtraChannels::nothing;
  if (unet.in_channels == 2 * latent_channels + 1) return ExtraChannels::masked_picture;
  if (unet.in_channels == latent_channels + 1) return ExtraChannels::depth;
  return std::nullopt;
}

void require_fit(const ModelFiles& model, const UNetConfig& unet, const UNetInputs& inputs,
                 const AutoencoderInfo& autoencoder) {
  const auto fail = [&model](const auto&... what) { throw Error(Fault::input, concat(model.who(), ": ", what...)); };
  const std::int64_t latent = autoencoder.latent_channels;
  if (unet.out_channels != latent || !extra_channels(unet, latent))
    fail("the U-Net takes ", unet.in_channels, " channels and gives ", unet.out_channels,
         ", the autoencoder's latents have ", latent, ": neither text-to-image nor inpainting nor depth-to-image");
  for (const auto& level : unet.levels)
    if (level.context_width != inputs.context_width)
      fail("the U-Net's cross_attention_dim is ", level.context_width, ", the text encoders' hidden_size together ",
           inputs.context_width, ": they belong to different models");
  const std::int64_t ids = inputs.sizes.count, added = inputs.pooled_width + ids * unet.size_id_width;
  if ((ids > 0) != (unet.size_id_width > 0))
    fail("the U-Net ", unet.size_id_width ? "takes" : "takes no",
         " sizes (addition_embed_type text_time), its pipeline ", ids ? "gives some" : "gives none");
  if (ids > 0 && unet.added_width != added)
    fail("the U-Net's projection_class_embeddings_input_dim is ", unet.added_width, ", but the pooled prompt and ", ids,
         " sizes make ", added, ": requires_aesthetics_score is wrong, or the text encoder is of another model");
}

// The pictures that the U-Net was trained on.
Size native_size(const UNetConfig& unet, const AutoencoderInfo& latents) {
  return {static_cast<int>(unet.sample_width * latents.factor), static_cast<int>(unet.sample_height * latents.factor)};
}

}  // namespace

void require_unet_takes(const UNetInputs& inputs, const ModelFiles& model) {
  require_fit(model, UNetConfig::from(model.at("unet").config), inputs, autoencoder_info(model.at("vae")));
}

Parts assemble_latent_unet(const ModelFiles& model, const Family& family, const UNetInputs& inputs,
                           const AssembleOptions& options, const Warn& warn) {
  const Component &unet = model.at("unet"), autoencoder = choose_autoencoder(model, options, inputs.scaling);
  const UNetConfig config = UNetConfig::from(unet.config);
  const AutoencoderInfo latents = autoencoder_info(autoencoder);
  const Defaults authors = read_defaults(model);
  require_fit(model, config, inputs, latents);
  const at::ScalarType dtype =
      choose_dtype(options.precision, options.device, stored_dtype(*unet.tensors, unet.prefix));
  const PicturePart picture = picture_part(autoencoder, dtype, options);
  Parts parts{.family = family.pipeline,
              .device = options.device,
              .dtype = dtype,
              .guidance_distilled = config.time_cond_width > 0,
              .sizes = inputs.sizes,
              .extra_channels = *extra_channels(config, latents.latent_channels),
              .latents = {latents.latent_channels, latents.factor, latents.factor},
              .picture = picture,
              .scheduler = model.scheduler,
              .rules = family.rules};

  std::vector<const Component*> changed{&unet};  // by LoRAs
  changed.insert(changed.end(), inputs.text.encoders.begin(), inputs.text.encoders.end());
  const std::shared_ptr<LoraFits> fits = lora_fits(changed, family.name(model), options);
  for (const Component* encoder : inputs.text.encoders)
    check_network(*encoder, inputs.unread_is_usual ? Warn([](const std::string&) {}) : warn);
  add_text(parts, model, inputs.text, fits, options);
  parts.text->zero_empty_negative = inputs.zero_empty_negative;
  check_network(autoencoder, warn);
  check<UNet>(unet, config, warn);

  const Where where = place_on(options, dtype);  // with what steers it, at every step
  const auto steering = std::make_shared<const UNetSteering>(
      open_steering(config, unet.config, {options.controlnets, options.adapters, latents.factor}, where, warn));
  parts.steering = steering->known;
  parts.latents.multiple = std::lcm(parts.latents.multiple, parts.steering.size_multiple);
  add_step(parts, unet, where, [unet, config, where, fits, steering](std::span<const Lora> loras) {
    const auto network =
        std::make_shared<const UNet>(fits->set(loras).patch(weights_of(unet, where), *unet.part), config);
    return unet_step(network, steering->of(network));
  });

  set_defaults(parts, family, authors, native_size(config, latents));
  if (!parts.defaults.negative_prompt && !inputs.zero_empty_negative) parts.defaults.negative_prompt = "";
  return parts;
}

Size native_size_in_latents(const ModelFiles& model) {
  return native_size(UNetConfig::from(model.at("unet").config), autoencoder_info(model.at("vae")));
}

std::string with_variant(std::string name, const ModelFiles& model) {
  const UNetConfig unet = UNetConfig::from(model.at("unet").config);
  const auto more = extra_channels(unet, unet.out_channels);
  if (more == ExtraChannels::masked_picture) name += " inpainting";
  if (more == ExtraChannels::depth) name += " depth";
  if (unet.time_cond_width > 0) name += " LCM";
  return name;
}

}  // namespace sdgen
