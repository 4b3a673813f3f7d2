// Diffusion on pictures themselves, which nothing conditions (Ho et al., 2020; Song et al., 2020): a U-Net alone.
#include "device/device.h"
#include "families/assembly.h"
#include "families/networks.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// A network that draws pictures, and no learned variance.
UNetConfig config_of_pixels(const ModelFiles& model) {
  const Config& json = model.at("unet").config;
  UNetConfig config = UNetConfig::unconditional(json);
  if (config.out_channels != config.in_channels)  // twice as many: a learned variance
    json.unsupported("out_channels", concat("expected in_channels, which is ", config.in_channels));
  if (config.in_channels != 3 && config.in_channels != 1) json.unsupported("in_channels", "1 and 3 are pictures");
  return config;
}

std::string is_one_that(const ModelFiles& model, const Family& family) {
  return concat(model.path.string(), " is a ", family.pipeline, ", which ");
}

// Throws Error(usage) for what such a model has no place for.
void refuse_additions(const ModelFiles& model, const Family& family, const AssembleOptions& options) {
  const std::string path = model.path.string(), is_one = is_one_that(model, family);
  if (options.vae)
    throw Error(Fault::usage, concat(FieldName{"vae"}, ": ", path, " has no autoencoder to replace: it is a ",
                                     family.pipeline, ", whose network draws pixels"));
  if (!options.textual_inversions.empty())
    throw Error(Fault::usage, concat(FieldName{"textual_inversions"}, ": ", is_one, "has no text encoder"));
  if (!options.controlnets.empty() || !options.adapters.empty())
    throw Error(Fault::usage,
                concat(FieldName{"controlnets"}, ", ", FieldName{"adapters"}, ": ", is_one, "they are not made for"));
}

std::string name_of_pixels(const ModelFiles&) { return "unconditional"; }

Size native_size_in_pixels(const ModelFiles& model) {
  const UNetConfig config = UNetConfig::unconditional(model.at("unet").config);
  return {static_cast<int>(config.sample_width), static_cast<int>(config.sample_height)};
}

void require_fit_of_pixels(const ModelFiles& model) { config_of_pixels(model); }

Parts assemble_pixels(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  refuse_additions(model, family, options);
  const Component& unet = model.at("unet");
  const UNetConfig config = config_of_pixels(model);
  const Defaults authors = read_defaults(model);
  if (authors.guidance_scale || authors.negative_prompt)
    throw Error(Fault::input, concat((model.path / "sdgen.json").string(), ": guidance_scale and negative_prompt mean ",
                                     "nothing to a ", family.pipeline, ", which has no text encoder"));
  check<UNet>(unet, config, warn);
  const at::ScalarType dtype = choose_dtype(options.precision, options.device, stored_dtype(*unet.tensors));
  const auto make_step = [unet, config, options, dtype](std::span<const Lora>) {
    return unet_step(std::make_shared<const UNet>(weights_of(unet, place_on(options, dtype)), config));
  };
  Parts parts{.family = family.pipeline,
              .device = options.device,
              .dtype = dtype,
              .make_step = make_step,
              // diffusers' network takes no other sizes.
              .latents = {config.in_channels, 1, std::int64_t{1} << (config.levels.size() - 1)},
              .picture = {[](at::ScalarType) { return std::make_unique<PixelCodec>(); }},
              .scheduler = model.scheduler,
              .rules = family.rules,
              .lora_infos = refuse_loras(is_one_that(model, family) + "has nothing that LoRA files are made for")};
  set_defaults(parts, family, authors, native_size_in_pixels(model));
  return parts;
}

Family pixel_family(const char* pipeline, int steps) {
  return {.pipeline = pipeline,
          .defaults = {.steps = steps},
          .rules = {PipelineQuirks::none, PipelineQuirks::none},
          .takes_text = false,
          .name = name_of_pixels,
          .native_size = native_size_in_pixels,
          .require_fit = require_fit_of_pixels,
          .assemble = assemble_pixels};
}

}  // namespace

std::vector<Family> pixel_families() {
  Family ddim = pixel_family("DDIMPipeline", 50);
  ddim.defaults.scheduler = "ddim";  // whatever its folder says
  return {pixel_family("DDPMPipeline", 1000), ddim};
}

}  // namespace sdgen
