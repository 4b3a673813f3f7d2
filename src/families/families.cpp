#include "families/families.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "adapters/lora.h"
#include "adapters/textual_inversion.h"
#include "device/device.h"
#include "diffusion/schedulers.h"
#include "formats/original_layout.h"
#include "io/utf8.h"
#include "nn/controlnet.h"
#include "nn/t2i_adapter.h"
#include "nn/tiny_autoencoder.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "ops/cuda.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

// sdgen.json beside model_index.json: defaults by the model's authors.
Request read_defaults(const fs::path& model) {
  Request r;
  if (!fs::exists(model / "sdgen.json")) return r;
  const Config json = Config::read(model / "sdgen.json");
  const auto positive = [&json](const char* key, int most = kMostSide) {
    const std::int64_t n = json.integer(key, 0);
    if (n < 1 || n > most) json.unsupported(key, concat("expected 1 to ", most));
    return static_cast<int>(n);
  };
  for (const auto& [key, value] : json.json().items()) {
    if (value.is_null()) continue;
    if (key == "steps")
      r.steps = positive("steps", kMostSteps);
    else if (key == "width")
      r.width = positive("width");
    else if (key == "height")
      r.height = positive("height");
    else if (key == "guidance_scale")
      r.guidance_scale = json.number("guidance_scale", 0);
    else if (key == "negative_prompt")
      r.negative_prompt = json.string("negative_prompt", "");
    else if (key == "scheduler")
      r.scheduler = json.string("scheduler", "");
    else
      json.unsupported(key, "known: steps, guidance_scale, negative_prompt, scheduler, width, height");
  }
  return r;
}

// A diffusers pipeline: what its models are made of, and its defaults.
struct Family {
  enum Kind { sd, xl, pixels } kind;
  int steps;
  std::optional<double> guidance_scale;
  std::optional<double> strength;        // of image to image; none: it takes no pictures
  std::optional<std::string> scheduler;  // the pipeline runs this one whatever the folder says
  bool strength_spreads = false;         // see Parts
  PipelineQuirks quirks = PipelineQuirks::stable_diffusion;
};

// sd: a U-Net on latents. xl: two text encoders' last but one layers, a pooled prompt, sizes (Podell et al., 2023,
// section 2). pixels: a U-Net on pictures, and no text (Ho et al., 2020).
const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> table = {
      {"StableDiffusionPipeline", {Family::sd, 50, 7.5, 0.8, {}}},
      {"StableDiffusionImg2ImgPipeline", {Family::sd, 50, 7.5, 0.8, {}}},
      {"StableDiffusionInpaintPipeline", {Family::sd, 50, 7.5, 0.8, {}}},
      {"StableDiffusionDepth2ImgPipeline", {Family::sd, 50, 7.5, 0.8, {}, false, PipelineQuirks::none}},
      {"LatentConsistencyModelPipeline", {Family::sd, 4, 8.5, 0.8, {}, true}},
      {"StableDiffusionXLPipeline", {Family::xl, 50, 5.0, 0.3, {}}},
      {"StableDiffusionXLImg2ImgPipeline", {Family::xl, 50, 5.0, 0.3, {}}},
      {"StableDiffusionXLInpaintPipeline", {Family::xl, 50, 7.5, 0.3, {}}},
      {"DDPMPipeline", {Family::pixels, 1000, {}, {}, {}}},
      {"DDIMPipeline", {Family::pixels, 50, {}, {}, "ddim"}},
  };
  return table;
}

Family family_of(const Config& index) {
  const std::string name = index.string("_class_name", "");
  const auto found = families().find(name);
  if (found != families().end()) return found->second;
  std::string known;
  for (const auto& [other, family] : families()) known += (known.empty() ? "" : ", ") + other;
  throw Error(Fault::input,
              concat(index.who(), ": pipeline class '", printable(name), "' is not supported (", known, ")"));
}

std::shared_ptr<Residency> residency_on(const std::shared_ptr<OffloadDevice>& device) {
  return device ? std::make_shared<Residency>(device) : nullptr;
}

bool is_tiny(const Component& vae) { return vae.config.string("_class_name", "") == "AutoencoderTiny"; }

// Calls `work` with the class of an autoencoder (a null pointer to it) and its config.
template <class Work>
auto with_autoencoder(const Component& vae, const Work& work) {
  if (is_tiny(vae)) return work(static_cast<TinyAutoencoder*>(nullptr), TinyAutoencoderConfig::from(vae.config));
  return work(static_cast<Vae*>(nullptr), VaeConfig::from(vae.config));
}

AutoencoderInfo autoencoder_info(const Component& vae) {
  return with_autoencoder(vae, [](auto*, const auto& config) { return config.info(); });
}

// The autoencoder asked for, or the model's own. A single file does not say how its latents are scaled: as the model's.
Component choose_vae(const ModelFiles& model, const std::optional<fs::path>& asked, bool xl) {
  if (!asked) return model.at("vae");
  const Component* own = model.find("vae");
  if (own && !is_tiny(*own)) return open_vae(*asked, VaeConfig::from(own->config).scaling_factor);
  return open_vae(*asked, xl ? kSdxlScaling : kSdScaling);
}

SizeIds size_ids_of(const ModelFiles& model, bool xl) {
  if (!xl) return SizeIds::none;
  return model.index.boolean("requires_aesthetics_score", false) ? SizeIds::aesthetic_score : SizeIds::target_size;
}

template <class Network, class NetworkConfig>
LoraNames::Parameters parameters_of(const Component& c, const NetworkConfig& config) {
  LoraNames::Parameters shapes;
  const Network network(weights_of(c, {at::kMeta, at::kFloat}), config);
  for (const auto& [name, parameter] : network.named_parameters()) shapes[name] = parameter.sizes().vec();
  return shapes;
}

// The files matched with the model's own names.
LoraSet match_loras(const ModelFiles& model, bool xl, const AssembleOptions& options, const Warn& warn) {
  if (options.loras.empty()) return {};
  LoraNames names;
  const Component& unet = model.at("unet");
  names.add("unet", parameters_of<UNet>(unet, UNetConfig::from(unet.config)));
  for (const char* name : {"text_encoder", "text_encoder_2"})
    if (const Component* c = model.find(name)) {
      names.add(name, parameters_of<ClipText>(*c, ClipTextConfig::from(c->config)));
      if (!xl) break;
    }
  return {options.loras, names, family_name(model), options.strict, warn};
}

// The words of the files, for the encoders that the model has.
TextualInversions read_inversions(const ModelFiles& model,
                                  const std::vector<std::pair<std::string, ClipTextConfig>>& encoders,
                                  const AssembleOptions& options) {
  TextualInversions::Encoders widths;
  for (const auto& [name, config] : encoders) widths.emplace_back(name, config.width);
  TextualInversions inversions(options.textual_inversions, widths);
  if (!options.textual_inversions.empty())
    for (const auto& [name, config] : encoders) inversions.teach(*model.tokenizer(name));  // finds what is wrong now
  return inversions;
}

// Everything that conditions the network on text.
void add_text(Parts& parts, const ModelFiles& model, bool xl, const LoraSet& loras, const AssembleOptions& options,
              const Warn& warn) {
  std::vector<std::pair<std::string, ClipTextConfig>> encoders;
  for (const char* name : {"text_encoder", "text_encoder_2"})
    if (const Component* c = model.find(name)) encoders.emplace_back(name, ClipTextConfig::from(c->config));
  if (encoders.empty()) model.at("text_encoder");  // throws
  if (!xl) encoders.resize(1);
  parts.clip_skips = 1000;
  for (const auto& [name, config] : encoders) {
    // The last layer of Stable Diffusion 2's encoder, which its U-Net never saw, is in the original files: no warning.
    const bool cut = !model.folder && !xl;
    check<ClipText>(model.at(name), config, cut ? Warn([](const std::string&) {}) : warn);
    parts.clip_skips = int(std::min<std::int64_t>(parts.clip_skips, config.layers - (xl ? 1 : 0)));
  }
  const TextualInversions inversions = read_inversions(model, encoders, options);
  parts.textual_inversions = inversions.infos();
  parts.text = [model, encoders, xl, loras, inversions, shared = options.shared, device = parts.device,
                dtype = parts.dtype] {
    const Where where{device, dtype, residency_on(shared)};
    std::vector<ClipConditioner::Encoder> list;
    for (const auto& [name, config] : encoders) {
      std::unique_ptr<Tokenizer> tokenizer = model.tokenizer(name);
      inversions.teach(*tokenizer);
      list.push_back(
          {std::move(tokenizer), std::make_unique<ClipText>(loras.patch(weights_of(model.at(name), where), name),
                                                            config, inversions.vectors(name))});
    }
    return std::make_unique<ClipConditioner>(std::move(list), xl, device);
  };
}

// What a U-Net's input channels are beside the latents; nothing for numbers that no pipeline gives.
std::optional<ExtraChannels> extra_channels(const UNetConfig& unet, std::int64_t latent_channels) {
  if (unet.in_channels == latent_channels) return ExtraChannels::nothing;
  if (unet.in_channels == 2 * latent_channels + 1) return ExtraChannels::masked_picture;
  if (unet.in_channels == latent_channels + 1) return ExtraChannels::depth;
  return std::nullopt;
}

void require_together(const ModelFiles& model, SizeIds size_ids, const AutoencoderInfo& vae, const UNetConfig& unet) {
  const auto fail = [&model](const auto&... what) {
    throw Error(Fault::input, concat(model.path.string(), ": ", what...));
  };
  const std::int64_t latent = vae.latent_channels;
  if (unet.out_channels != latent || !extra_channels(unet, latent))
    fail("the U-Net takes ", unet.in_channels, " channels and gives ", unet.out_channels,
         ", the autoencoder's latents have ", latent, ": neither text-to-image nor inpainting nor depth-to-image");
  std::int64_t context = 0, pooled = 0;
  for (const char* name : {"text_encoder", "text_encoder_2"})
    if (const Component* c = model.find(name)) {
      const ClipTextConfig config = ClipTextConfig::from(c->config);
      context = size_ids == SizeIds::none ? config.width : context + config.width;
      pooled = config.projection_width;
      if (size_ids == SizeIds::none) break;
    }
  for (const auto& level : unet.levels)
    if (level.context_width != context)
      fail("the U-Net's cross_attention_dim is ", level.context_width, ", the text encoders' hidden_size together ",
           context, ": they belong to different models");
  const std::int64_t ids = size_ids == SizeIds::none ? 0 : size_ids == SizeIds::target_size ? 6 : 5;
  if ((ids > 0) != (unet.size_id_width > 0))
    fail("the U-Net ", unet.size_id_width ? "takes" : "takes no",
         " sizes (addition_embed_type text_time), its pipeline ", ids ? "gives some" : "gives none");
  if (ids > 0 && unet.added_width != pooled + ids * unet.size_id_width)
    fail("the U-Net's projection_class_embeddings_input_dim is ", unet.added_width, ", but the pooled prompt and ", ids,
         " sizes make ", pooled + ids * unet.size_id_width,
         ": requires_aesthetics_score is wrong, or the text encoder is of another model");
}

// A network that draws pictures itself, and no learned variance.
void require_pictures(const Component& unet, const UNetConfig& config) {
  if (config.out_channels != config.in_channels)  // twice as many: a learned variance
    unet.config.unsupported("out_channels", concat("expected in_channels, which is ", config.in_channels));
  if (config.in_channels != 3 && config.in_channels != 1)
    unet.config.unsupported("in_channels", "1 and 3 are pictures");
}

// What a model's sdgen.json leaves open.
void complete_defaults(Parts& parts, const Family& family, const UNetConfig& unet) {
  Request& defaults = parts.defaults;
  const bool own_guidance = defaults.guidance_scale.has_value();
  if (!defaults.width) defaults.width = unet.sample_width * parts.factor;
  if (!defaults.height) defaults.height = unet.sample_height * parts.factor;
  if (!defaults.steps) defaults.steps = family.steps;
  if (!defaults.guidance_scale) defaults.guidance_scale = family.guidance_scale;
  if (!defaults.scheduler) defaults.scheduler = family.scheduler;
  defaults.strength = family.strength;
  parts.repaint = defaults;
  if (family.kind == Family::pixels) return;
  const bool xl = family.kind == Family::xl;
  parts.repaint.strength = xl ? 0.9999 : 1.0;
  if (xl && !own_guidance) parts.repaint.guidance_scale = 7.5;
}

// Loads an autoencoder in the type that it is asked for.
auto maker(const Component& vae, const AssembleOptions& options) {
  return [vae, device = options.device, shared = options.shared](at::ScalarType type) {
    // A tiny one has room everywhere, and draws previews while the U-Net works.
    const Where where{device, type, is_tiny(vae) ? nullptr : residency_on(shared)};
    return with_autoencoder(vae, [&]<class Network>(Network*, const auto& config) -> std::unique_ptr<Autoencoder> {
      return std::make_unique<Network>(weights_of(vae, where), config);
    });
  };
}

// Latents that a text conditions and an autoencoder decodes.
Parts assemble_latent(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  const bool xl = family.kind == Family::xl;
  const Component &unet = model.at("unet"), vae = choose_vae(model, options.vae, xl);
  const UNetConfig unet_config = UNetConfig::from(unet.config);
  const AutoencoderInfo latents = autoencoder_info(vae);
  const at::ScalarType dtype =
      choose_dtype(options.precision, options.device, stored_dtype(*unet.tensors, unet.prefix));
  Parts parts{.family = model.index.string("_class_name", ""),
              .device = options.device,
              .dtype = dtype,
              .text = {},
              .zero_empty_negative = xl && model.index.boolean("force_zeros_for_empty_prompt", true),
              .size_ids = size_ids_of(model, xl),
              .backbone = {},
              .latent_channels = latents.latent_channels,
              .extra_channels = extra_channels(unet_config, latents.latent_channels).value_or(ExtraChannels::nothing),
              .factor = latents.factor,
              .size_multiple = latents.factor,
              .strength_spreads = family.strength_spreads,
              .guidance_distilled = unet_config.time_cond_width > 0,
              .autoencoder_dtype = latents.force_upcast && dtype == at::kHalf ? at::kFloat : dtype,
              .make_autoencoder = {},
              .scheduler = model.scheduler,
              .quirks = family.quirks,
              .defaults = model.folder ? read_defaults(model.path) : Request()};
  require_together(model, parts.size_ids, latents, unet_config);
  const LoraSet loras = match_loras(model, xl, options, warn);
  parts.loras = loras.infos();
  add_text(parts, model, xl, loras, options, warn);
  with_autoencoder(vae, [&]<class Network>(Network*, const auto& config) { check<Network>(vae, config, warn); });
  check<UNet>(unet, unet_config, warn);
  const Where where{options.device, dtype, residency_on(options.shared)};  // with what steers it, at every step
  parts.steering =
      open_steering(unet_config, unet.config, {options.controlnets, options.adapters, parts.factor}, where, warn);
  parts.size_multiple = std::lcm(parts.size_multiple, parts.steering.size_multiple);
  const auto network = std::make_shared<const UNet>(loras.patch(weights_of(unet, where), "unet"), unet_config);
  parts.backbone = parts.steering.unet = network;
  // A recording knows its weights by where they lie.
  if (options.device.is_cuda() && !where.residency) parts.recorder = ops::cuda::recorder(options.device);
  parts.make_autoencoder = maker(vae, options);
  complete_defaults(parts, family, unet_config);
  if (!parts.defaults.negative_prompt && !parts.zero_empty_negative) parts.defaults.negative_prompt = "";
  return parts;
}

// Pictures that nothing conditions.
Parts assemble_pixels(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn) {
  if (options.vae)
    throw Error(Fault::usage,
                concat(FieldName{"vae"}, ": ", model.path.string(), " has no autoencoder to replace: it is a ",
                       model.index.string("_class_name", ""), ", whose network draws pixels"));
  if (!options.loras.empty())
    throw Error(Fault::usage,
                concat(FieldName{"loras"}, ": ", model.path.string(), " is a ", model.index.string("_class_name", ""),
                       ", which has nothing that LoRA files are made for"));
  if (!options.textual_inversions.empty())
    throw Error(Fault::usage, concat(FieldName{"textual_inversions"}, ": ", model.path.string(), " is a ",
                                     model.index.string("_class_name", ""), ", which has no text encoder"));
  if (!options.controlnets.empty() || !options.adapters.empty())
    throw Error(Fault::usage, concat(FieldName{"controlnets"}, ", ", FieldName{"adapters"}, ": ", model.path.string(),
                                     " is a ", model.index.string("_class_name", ""), ", which they are not made for"));
  const Component& unet = model.at("unet");
  const UNetConfig config = UNetConfig::unconditional(unet.config);
  require_pictures(unet, config);
  Parts parts{.family = model.index.string("_class_name", ""),
              .device = options.device,
              .dtype = choose_dtype(options.precision, options.device, stored_dtype(*unet.tensors)),
              .text = {},
              .backbone = {},
              .latent_channels = config.in_channels,
              .size_multiple = std::int64_t{1} << (config.levels.size() - 1),  // diffusers' network takes no other
              .make_autoencoder = [](at::ScalarType) { return std::make_unique<PixelCodec>(); },
              .scheduler = model.scheduler,
              .quirks = PipelineQuirks::none,
              .defaults = read_defaults(model.path)};
  if (parts.defaults.guidance_scale || parts.defaults.negative_prompt)
    throw Error(Fault::input, concat((model.path / "sdgen.json").string(), ": guidance_scale and negative_prompt mean ",
                                     "nothing to a ", parts.family, ", which has no text encoder"));
  check<UNet>(unet, config, warn);
  parts.backbone = std::make_shared<const UNet>(
      weights_of(unet, {options.device, parts.dtype, residency_on(options.shared)}), config);
  complete_defaults(parts, family, config);
  return parts;
}

UNetConfig unet_config_of(const Component& unet) {
  const bool unconditional = unet.config.string("_class_name", "") == "UNet2DModel";
  return unconditional ? UNetConfig::unconditional(unet.config) : UNetConfig::from(unet.config);
}

}  // namespace

Survey survey(const std::string& name, const Component& component) {
  if (name == "unet") return survey_as<UNet>(component, unet_config_of(component));
  if (name == "vae")
    return with_autoencoder(
        component, [&]<class Network>(Network*, const auto& config) { return survey_as<Network>(component, config); });
  if (name == "controlnet") return survey_as<ControlNet>(component, ControlNetConfig::from(component.config));
  if (name == "t2i_adapter") return survey_as<T2IAdapter>(component, T2IAdapterConfig::from(component.config));
  return survey_as<ClipText>(component, ClipTextConfig::from(component.config));
}

void require_family(const Config& index) { family_of(index); }

void require_scheduler(const ModelFiles& model) {
  Scheduler::choose(model.scheduler, {},
                    takes_text(model.path) ? PipelineQuirks::stable_diffusion : PipelineQuirks::none);
}

void require_together(const ModelFiles& model) {
  const Family family = family_of(model.index);
  const Component& unet = model.at("unet");
  if (family.kind == Family::pixels) return require_pictures(unet, UNetConfig::unconditional(unet.config));
  if (!model.find("text_encoder") && !model.find("text_encoder_2")) model.at("text_encoder");  // throws
  require_together(model, size_ids_of(model, family.kind == Family::xl), autoencoder_info(model.at("vae")),
                   UNetConfig::from(unet.config));
}

std::string family_name(const ModelFiles& model) {
  const Family family = family_of(model.index);
  if (family.kind == Family::pixels) return "unconditional";
  const UNetConfig unet = UNetConfig::from(model.at("unet").config);
  const Component* text = model.find("text_encoder");
  std::string name = text ? "SDXL" : "SDXL refiner";
  if (family.kind == Family::sd) {
    // OpenCLIP's encoder, which has exact GELUs, is what Stable Diffusion 2 brought.
    const bool second = text && text->config.string("hidden_act", "quick_gelu") == "gelu";
    name = second ? "Stable Diffusion 2" : "Stable Diffusion 1";
  }
  const auto more = extra_channels(unet, unet.out_channels);
  if (more == ExtraChannels::masked_picture) name += " inpainting";
  if (more == ExtraChannels::depth) name += " depth";
  if (unet.time_cond_width > 0) name += " LCM";
  return name;
}

Size native_size(const ModelFiles& model) {
  const UNetConfig unet = unet_config_of(model.at("unet"));
  const bool pixels = family_of(model.index).kind == Family::pixels;
  const std::int64_t factor = pixels ? 1 : autoencoder_info(model.at("vae")).factor;
  return {static_cast<int>(unet.sample_width * factor), static_cast<int>(unet.sample_height * factor)};
}

bool takes_text(const fs::path& model) {
  std::error_code error;
  if (!fs::exists(model / "model_index.json", error)) return true;
  const auto found = families().find(Config::read(model / "model_index.json").string("_class_name", ""));
  return found == families().end() || found->second.kind != Family::pixels;
}

Parts assemble_autoencoder(const fs::path& path, const AssembleOptions& options, const Warn& warn) {
  const Component vae = options.vae ? open_vae(*options.vae, 1) : open_model(path, warn).at("vae");
  const AutoencoderInfo latents = autoencoder_info(vae);
  const at::ScalarType dtype = choose_dtype(options.precision, options.device, stored_dtype(*vae.tensors, vae.prefix));
  with_autoencoder(vae, [&]<class Network>(Network*, const auto& config) { check<Network>(vae, config, warn); });
  return {.family = {},
          .device = options.device,
          .dtype = dtype,
          .text = {},
          .backbone = {},
          .latent_channels = latents.latent_channels,
          .factor = latents.factor,
          .autoencoder_dtype = latents.force_upcast && dtype == at::kHalf ? at::kFloat : dtype,
          .make_autoencoder = maker(vae, options),
          .scheduler = Config(Json::object(), ""),
          .defaults = {}};
}

Parts assemble(const fs::path& path, const AssembleOptions& options, const Warn& warn) {
  const ModelFiles model = open_model(path, warn);
  const Family family = family_of(model.index);
  return (family.kind == Family::pixels ? assemble_pixels : assemble_latent)(model, family, options, warn);
}

}  // namespace sdgen
