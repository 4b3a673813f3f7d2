#include "formats/training.h"

#include <cstdio>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// Stability AI's ModelSpec; "" where the writer left no such word about the file.
std::string spec(const TensorTable& table, const char* key) {
  const auto& metadata = table.files().front()->metadata();
  const auto found = metadata.find(concat("modelspec.", key));
  return found == metadata.end() ? "" : found->second;
}

// "1024x1024", as defaults; none for any other text.
Json size_of(const std::string& text) {
  int width = 0, height = 0, end = 0;
  const bool whole =
      std::sscanf(text.c_str(), "%5dx%5d%n", &width, &height, &end) == 2 && std::size_t(end) == text.size();
  for (const int side : {width, height})
    if (!whole || side < 64 || side > 4096 || side % 64 != 0) return Json::object();
  return {{"width", width}, {"height", height}};
}

}  // namespace

std::optional<bool> says_v(const TensorTable& table) {
  // A key says so more surely than metadata, which trainers fill in from how they were started.
  const std::string type = spec(table, "prediction_type");
  if (table.find("v_pred") || type.starts_with('v') || spec(table, "architecture") == "stable-diffusion-v2-768-v")
    return true;
  if (type == "epsilon") return false;
  return std::nullopt;
}

Json said_size(const TensorTable& table) { return size_of(spec(table, "resolution")); }

void hear_training(const TensorTable& table, Json& scheduler, Json& defaults) {
  for (const char* key : {"edm_mean", "edm_vpred.sigma_max", "edm_vpred.sigma_min"})
    if (table.find(key))
      throw Error(Fault::input, concat(table.source(), ": the key '", key,
                                       "' says that this model was trained on EDM's noise levels, which are not "
                                       "supported (epsilon and v-prediction are)"));
  if (const auto v = says_v(table)) scheduler["prediction_type"] = *v ? "v_prediction" : "epsilon";
  if (table.find("ztsnr")) {
    // Zero terminal SNR wants sampling to begin at the last timestep (Lin et al., 2023, section 3.3).
    scheduler["rescale_betas_zero_snr"] = true;
    scheduler["timestep_spacing"] = "trailing";
  }
  defaults.update(said_size(table));
}

void suit_unet(const Config& unet, UNetDecides rest) {
  auto& [pipeline_class, scheduler, defaults] = rest;
  const std::int64_t channels = unet.integer("in_channels", 4);
  const bool xl = unet.has("addition_embed_type");
  if (channels == 9) pipeline_class = xl ? "StableDiffusionXLInpaintPipeline" : "StableDiffusionInpaintPipeline";
  if (channels == 5 && !xl) pipeline_class = "StableDiffusionDepth2ImgPipeline";
  if (!unet.has("time_cond_proj_dim")) return;
  // The guidance scale is an input of latent consistency models alone (Luo et al., 2023): a few steps of their own
  // sampler. Other samplers make nothing of them.
  scheduler.update({{"_class_name", "LCMScheduler"}, {"set_alpha_to_one", true}, {"steps_offset", 0}});
  scheduler.erase("skip_prk_steps");
  if (pipeline_class == "StableDiffusionPipeline") pipeline_class = "LatentConsistencyModelPipeline";
  defaults.update({{"steps", 4}, {"guidance_scale", 8.5}});
}

void suit_unet_instead(const Config& unet, const Config& old, UNetDecides rest) {
  if (unet.integer("in_channels", 4) != old.integer("in_channels", 4) ||
      unet.has("time_cond_proj_dim") != old.has("time_cond_proj_dim"))
    rest.pipeline_class = old.has("addition_embed_type") ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
  suit_unet(unet, rest);
}

}  // namespace sdgen
