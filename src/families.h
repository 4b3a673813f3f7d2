// The one place that knows model families apart: from a model's files to the parts that a pipeline runs.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/model_files.h"
#include "nn/backbone.h"
#include "nn/vae.h"
#include "sdgen/sdgen.h"
#include "text/conditioner.h"

namespace sdgen {

// What Conditioning::size_ids are: nothing; original size, crop and target size (SDXL); or original size, crop and
// aesthetic score (SDXL's refiner).
enum class SizeIds { none, target_size, aesthetic_score };

struct Parts {
  std::string family;  // "_class_name" of model_index.json
  at::Device device;
  at::ScalarType dtype;
  // Builds the text encoders when they are needed: their scope is their memory plan.
  std::function<std::unique_ptr<TextConditioner>()> text;
  int clip_skips = 0;                // the largest Request::clip_skip
  bool zero_empty_negative = false;  // no negative prompt means zeros, not the encoded empty prompt
  SizeIds size_ids = SizeIds::none;
  std::unique_ptr<Backbone> backbone;
  std::int64_t latent_channels = 4, in_channels = 4;  // of the backbone; more than the latents': it repaints pictures
  std::int64_t guidance_embed_width = 0;  // > 0: the guidance scale is an input of the backbone, not a second pass
  VaeConfig vae_config;
  at::ScalarType vae_dtype = at::kFloat;
  std::function<std::unique_ptr<Vae>(at::ScalarType)> make_vae;  // in another precision, when one overflows
  Config scheduler;
  Request defaults;  // what the model says of sizes, steps, guidance; prompt and seed unset
};

struct AssembleOptions {
  at::Device device;
  Precision precision;
  std::optional<std::filesystem::path> vae;  // instead of the model's own
};

// Reads a model: a diffusers folder or a single file. `warn` is told about what is in it and not used. Throws
// Error(input).
Parts assemble(const std::filesystem::path& model, const AssembleOptions& options, const Warn& warn);

// What a network reads of the files that it is in.
struct Survey {
  std::int64_t parameters = 0;                // numbers
  std::uint64_t bytes = 0;                    // as they are stored
  std::map<std::string, std::size_t> dtypes;  // stored type -> how many tensors
  // Tensors that belong to the network by their prefix and that it would not read. Leftovers of training do not count.
  std::vector<std::string> unread;
};

// Builds a network by its name in a model (unet, vae, text_encoder, text_encoder_2) without reading its tensors:
// whatever is wrong with config, names and shapes is found now. Throws Error(input).
Survey survey(const std::string& name, const Component& component);

// Throws Error(input) unless the pipeline class of a model_index.json is supported.
void require_family(const Config& index);
// Throws Error(input) unless a model's parts fit together, as far as their configs tell. `vae`: the one that is used.
void require_together(const ModelFiles& model, const VaeConfig& vae);

// What people call the family: "Stable Diffusion 1", "Stable Diffusion 2", "SDXL", "SDXL refiner", with " inpainting"
// or " LCM" behind where that is so. Requires require_family.
std::string family_name(const ModelFiles& model);

}  // namespace sdgen
