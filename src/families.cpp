#include "families.h"

#include <map>

#include "device.h"
#include "io/safetensors.h"
#include "nn/unet.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;
using Warn = std::function<void(const std::string&)>;

constexpr const char* kDiffusion = "diffusion_pytorch_model";  // file stem of diffusers' weights
constexpr const char* kTransformers = "model";                 // and of transformers'

// Tensors that old files carry and that are no weights.
bool ignorable(const std::string& name) { return name.ends_with("position_ids"); }

void report_unread(const Weights& w, const Warn& warn) {
  std::vector<std::string> names = w.unread();
  std::erase_if(names, ignorable);
  if (!names.empty())
    warn(concat(w.source(), ": ", names.size(), " tensors are not used by this model, e.g. '", names.front(), "'"));
}

// sdgen.json beside model_index.json: what the makers of a model want its defaults to be.
Request read_defaults(const fs::path& model) {
  Request r;
  if (!fs::exists(model / "sdgen.json")) return r;
  const Config json = Config::read(model / "sdgen.json");
  const auto positive = [&json](const char* key) {
    const std::int64_t n = json.integer(key, 0);
    if (n < 1 || n > 16384) json.unsupported(key, "expected 1 to 16384");
    return static_cast<int>(n);
  };
  for (const auto& [key, value] : json.json().items()) {
    if (value.is_null()) continue;
    if (key == "steps")
      r.steps = positive("steps");
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

// Stable Diffusion 1.x, and every model of its layout: one CLIP encoder, a U-Net on latents, an autoencoder.
Parts stable_diffusion(const fs::path& model, at::Device device, Precision precision, const Warn& warn) {
  const auto unet_files = find_weight_files(model / "unet", kDiffusion);
  const auto vae_files = find_weight_files(model / "vae", kDiffusion);
  const auto text_files = find_weight_files(model / "text_encoder", kTransformers);
  const at::ScalarType dtype = choose_dtype(precision, device, stored_dtype(unet_files));

  const UNetConfig unet_config = UNetConfig::from(Config::read(model / "unet" / "config.json"));
  const VaeConfig vae_config = VaeConfig::from(Config::read(model / "vae" / "config.json"));
  const ClipTextConfig text_config = ClipTextConfig::from(Config::read(model / "text_encoder" / "config.json"));
  const std::int64_t latent = vae_config.latent_channels;
  if (unet_config.in_channels != latent || unet_config.out_channels != latent)
    throw Error(Fault::input,
                concat((model / "unet" / "config.json").string(), ": the U-Net takes ", unet_config.in_channels,
                       " channels and gives ", unet_config.out_channels, ", the autoencoder's latents have ", latent,
                       ": inpainting and variance-predicting U-Nets are not supported"));
  for (const auto& level : unet_config.levels)
    if (level.context_width != text_config.width)
      throw Error(Fault::input,
                  concat(model.string(), ": the U-Net's cross_attention_dim is ", level.context_width,
                         ", the text encoder's hidden_size ", text_config.width, ": they belong to different models"));
  if (unet_config.size_id_width)
    throw Error(Fault::input,
                concat(model.string(), ": addition_embed_type text_time needs a pipeline of the SDXL family"));

  Parts parts{.family = {},
              .device = device,
              .dtype = dtype,
              .text = {},
              .backbone = {},
              .vae = {},
              .vae_dtype = vae_config.force_upcast && dtype == at::kHalf ? at::kFloat : dtype,
              .make_vae = {},
              .scheduler = Config::read(model / "scheduler" / "scheduler_config.json"),
              .defaults = read_defaults(model)};

  const Weights unet_weights = Weights::open(unet_files, device, dtype);
  parts.backbone = std::make_unique<UNet>(unet_weights, unet_config);
  report_unread(unet_weights, warn);

  parts.make_vae = [=](at::ScalarType vae_dtype) {
    return std::make_unique<Vae>(with_current_vae_names(Weights::open(vae_files, device, vae_dtype)), vae_config);
  };
  parts.vae = parts.make_vae(parts.vae_dtype);

  parts.text = [=] {
    return std::make_unique<ClipConditioner>(
        load_tokenizer(model / "tokenizer"),
        std::make_unique<ClipText>(Weights::open(text_files, device, dtype), text_config), device);
  };
  parts.guidance_embed_width = unet_config.time_cond_width;
  Request& defaults = parts.defaults;
  if (!defaults.width) defaults.width = unet_config.sample_width * vae_config.factor();
  if (!defaults.height) defaults.height = unet_config.sample_height * vae_config.factor();
  if (!defaults.steps) defaults.steps = 50;
  if (!defaults.guidance_scale) defaults.guidance_scale = 7.5;
  if (!defaults.negative_prompt) defaults.negative_prompt = "";
  return parts;
}

using Family = Parts (*)(const fs::path&, at::Device, Precision, const Warn&);

const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> table = {{"StableDiffusionPipeline", stable_diffusion}};
  return table;
}

}  // namespace

Parts assemble(const fs::path& model, at::Device device, Precision precision, const Warn& warn) {
  if (!fs::exists(model)) throw Error(Fault::input, concat(model.string(), ": no such model"));
  if (!fs::is_directory(model))
    throw Error(Fault::input,
                concat(model.string(), ": not a diffusers folder; single-file checkpoints are not supported"));
  const fs::path index = model / "model_index.json";
  if (!fs::exists(index))
    throw Error(Fault::input,
                concat(model.string(), ": no model_index.json: this is not the folder of a diffusers pipeline"));
  const Config json = Config::read(index);
  const std::string name = json.string("_class_name", "");
  const auto family = families().find(name);
  if (family == families().end()) {
    std::string known;
    for (const auto& [other, make] : families()) known += (known.empty() ? "" : ", ") + other;
    throw Error(Fault::input, concat(index.string(), ": pipeline class '", name, "' is not supported (", known, ")"));
  }
  Parts parts = family->second(model, device, precision, warn);
  parts.family = name;
  return parts;
}

}  // namespace sdgen
