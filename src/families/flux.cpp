// Flux.1 (Black Forest Labs, 2024): a flow whose transformer looks at all tokens of T5, without a mask, and is told
// what CLIP makes of the whole prompt. It was distilled on guidance: dev is told a scale, schnell none. Variants are
// given a picture and its mask (Fill), a picture that steers (Depth, Canny), or a picture to edit (Kontext).
#include <algorithm>

#include "families/transformer.h"
#include "formats/original_layout.h"
#include "nn/flux_transformer.h"

namespace sdgen {
namespace {

Conditioning join_flux(std::span<const Encoded> prompt, const TextSettings&) {
  Conditioning c;
  c.context = prompt[1].states;
  c.pooled = prompt[0].pooled;
  return c;
}

// What each of the pipelines gives its transformer beside the latents.
struct Variant {
  const char *pipeline, *name;
  ExtraChannels extra = ExtraChannels::nothing;
  bool shown_pictures = false;
};
constexpr Variant kVariants[] = {
    {"FluxPipeline", ""},
    {"FluxImg2ImgPipeline", ""},
    {"FluxInpaintPipeline", ""},
    {"FluxFillPipeline", " Fill", ExtraChannels::picture_and_mask},
    {"FluxControlPipeline", " Depth or Canny", ExtraChannels::steering_picture},
    {"FluxKontextPipeline", " Kontext", ExtraChannels::nothing, /*shown_pictures=*/true},
};

const Variant& variant_of(std::string_view pipeline) {
  return *std::ranges::find(kVariants, pipeline, [](const Variant& v) { return std::string_view(v.pipeline); });
}
const Variant& variant_of(const ModelFiles& model) { return variant_of(model.index.string("_class_name", "")); }

FluxConfig config_of_flux(const ModelFiles& model) { return FluxConfig::from(model.at("transformer").config); }

void require_fit_of_flux(const ModelFiles& model) {
  const FluxConfig config = config_of_flux(model);
  const AutoencoderInfo latents = autoencoder_info(model.at("vae"));
  const Variant& variant = variant_of(model);
  constexpr std::int64_t in_token = kFluxPatch * kFluxPatch;
  const std::int64_t drawn = latents.latent_channels * in_token,
                     mask = latents.factor * latents.factor * in_token,  // its every pixel
      taken = drawn + (variant.extra == ExtraChannels::nothing            ? 0
                       : variant.extra == ExtraChannels::picture_and_mask ? drawn + mask
                                                                          : drawn);
  const std::int64_t context = T5Config::from(model.at("text_encoder_2").config).width,
                     pooled = ClipTextConfig::from(model.at("text_encoder").config).width;
  const auto fail = [&model](const auto&... what) {
    throw Error(Fault::input,
                concat(model.who(), ": the transformer's ", what..., ": they belong to different models"));
  };
  if (config.in_channels != taken)
    fail("in_channels is ", config.in_channels, ", its pipeline, ", variant.pipeline, ", gives it ", taken);
  if (config.out_channels != drawn)
    fail("out_channels is ", config.out_channels, ", four of the autoencoder's latents make ", drawn);
  if (config.context_width != context)
    fail("joint_attention_dim is ", config.context_width, ", T5's d_model ", context);
  if (config.pooled_width != pooled)
    fail("pooled_projection_dim is ", config.pooled_width, ", CLIP's hidden_size ", pooled);
}

std::string name_of_flux(const ModelFiles& model) {
  const std::string variant = variant_of(model).name;
  return concat("Flux.1", !variant.empty() ? variant : config_of_flux(model).guidance ? " dev" : " schnell");
}

Size native_size_of_flux(const ModelFiles& model) {
  const auto side = static_cast<int>(128 * autoencoder_info(model.at("vae")).factor);  // 128 latents
  return {side, side};
}

// The sizes of pictures that Kontext was trained to edit (PREFERRED_KONTEXT_RESOLUTIONS of diffusers): the widths of
// the high ones, from the narrowest; the wide ones are as high.
std::vector<Size> kontext_sizes() {
  constexpr Size high[] = {{672, 1568}, {688, 1504}, {720, 1456}, {752, 1392},
                           {800, 1328}, {832, 1248}, {880, 1184}, {944, 1104}};
  std::vector<Size> sizes(std::begin(high), std::end(high));
  sizes.push_back({1024, 1024});
  for (auto size = std::rbegin(high); size != std::rend(high); ++size) sizes.push_back({size->height, size->width});
  return sizes;
}

Parts assemble_flux(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  require_fit_of_flux(model);
  const FluxConfig config = config_of_flux(model);
  const TextInputs text{.encoders = {&model.at("text_encoder"), &model.at("text_encoder_2")},
                        .join = join_flux,
                        .max_sequence_length = 512};
  const Variant& variant = variant_of(family.pipeline);
  const TransformerInputs inputs{.text = text,
                                 .scaling = kFluxScaling,
                                 .patch = kFluxPatch,
                                 .steered = variant.extra == ExtraChannels::nothing && !variant.shown_pictures};
  Family own = family;
  if (!options.controlnets.empty()) own.defaults.guidance_scale = 7.0;  // FluxControlNetPipeline's
  Parts parts = assemble_transformer<FluxTransformer>(model, config, own, inputs, options, warn);
  parts.text->most_skipped = 0;  // what CLIP's last layer says is all that is used
  parts.guidance_distilled = true;
  parts.takes_guidance_scale = config.guidance || parts.steering.told_guidance;
  parts.true_guidance = variant.extra == ExtraChannels::nothing;
  parts.extra_channels = variant.extra;
  if (variant.shown_pictures) parts.shown = {.most = 1, .sizes = kontext_sizes()};
  return parts;
}

Family flux_family(const Variant& variant) {
  Family family{.pipeline = variant.pipeline,
                .defaults = {.steps = 28, .guidance_scale = 3.5},
                .rules = {.quirks = PipelineQuirks::none,
                          .repaint_quirks = PipelineQuirks::none,
                          .strength_rounds_up = true,
                          .even_sigmas = true},
                .name = name_of_flux,
                .native_size = native_size_of_flux,
                .require_fit = require_fit_of_flux,
                .assemble = assemble_flux};
  if (variant.extra == ExtraChannels::picture_and_mask) {
    family.defaults = {.steps = 50, .guidance_scale = 30.0, .strength = 1.0};
  } else if (variant.extra == ExtraChannels::nothing && !variant.shown_pictures) {
    family.defaults.strength = 0.6;
    family.of_picture = {.guidance_scale = 7.0};
  }
  return family;
}

}  // namespace

std::vector<Family> flux_families() {
  std::vector<Family> families;
  for (const Variant& variant : kVariants) families.push_back(flux_family(variant));
  return families;
}

}  // namespace sdgen
