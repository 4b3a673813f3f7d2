// The one place that knows model families apart: from a model's files to the parts that a pipeline runs.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/steering.h"
#include "diffusion/scheduler_config.h"
#include "formats/model_files.h"
#include "model/conditioner.h"
#include "model/network_files.h"
#include "nn/autoencoder.h"
#include "nn/backbone.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// What Conditioning::size_ids are: nothing; original size, crop and target size (SDXL); or original size, crop and
// aesthetic score (SDXL's refiner).
enum class SizeIds { none, target_size, aesthetic_score };

// What a backbone takes beside the latents: nothing; a mask and the picture's latents without what it covers
// (inpainting); or a depth map.
enum class ExtraChannels { nothing, masked_picture, depth };

struct Parts {
  std::string family;  // "_class_name" of model_index.json
  at::Device device;
  at::ScalarType dtype;
  // Builds the text encoders when they are needed: their scope is their memory plan. Null: the model draws without
  // a text.
  std::function<std::unique_ptr<TextConditioner>()> text;
  int clip_skips = 0;                // the largest Request::clip_skip
  bool zero_empty_negative = false;  // no negative prompt means zeros, not the encoded empty prompt
  SizeIds size_ids = SizeIds::none;
  std::shared_ptr<const Backbone> backbone;
  Replays::Recorder recorder = {};   // of its calls, and of those of what steers it; null: they are not recorded
  std::int64_t latent_channels = 4;  // of what is denoised: latents, or the picture itself
  ExtraChannels extra_channels = ExtraChannels::nothing;
  std::int64_t factor = 1;         // pixels a latent, along a side
  std::int64_t size_multiple = 1;  // of the picture's sides
  // Strength chooses among the steps that the network was distilled on, and as many as asked for are run, rather than
  // leaving out the first ones.
  bool strength_spreads = false;
  bool guidance_distilled = false;  // the guidance scale is an input of the backbone, not a second pass
  at::ScalarType autoencoder_dtype = at::kFloat;
  std::function<std::unique_ptr<Autoencoder>(at::ScalarType)>
      make_autoencoder;  // in another precision, when one overflows
  Config scheduler;
  PipelineQuirks quirks = PipelineQuirks::stable_diffusion;
  Request defaults;      // what the model says of sizes, steps, guidance; prompt and seed unset
  Request repaint = {};  // the same for requests with a mask
  std::vector<LoraInfo> loras = {};
  std::vector<TextualInversionInfo> textual_inversions = {};
  Steering steering = {};
};

struct AssembleOptions {
  at::Device device;
  Precision precision;
  std::optional<std::filesystem::path> vae;  // instead of the model's own
  std::vector<Lora> loras = {};
  std::vector<TextualInversion> textual_inversions = {};
  bool strict = false;
  std::vector<std::filesystem::path> controlnets = {}, adapters = {};
  std::shared_ptr<OffloadDevice> shared = {};  // null: all networks are on the device all the time
};

// Does this folder or file hold a model that draws what a text says? Reads model_index.json alone; true where it says
// nothing that is known. Throws Error(input) when it is malformed.
bool takes_text(const std::filesystem::path& model);

// Reads a model: a diffusers folder or a single file. `warn` gets what is in it and not used. Throws
// Error(input).
Parts assemble(const std::filesystem::path& model, const AssembleOptions& options, const Warn& warn);

// The same of a model's autoencoder alone, or of the one to use instead: everything else in Parts is left open.
Parts assemble_autoencoder(const std::filesystem::path& model, const AssembleOptions& options, const Warn& warn);

// Builds a network by its name in a model (unet, vae, text_encoder, text_encoder_2), or as what steers one (controlnet,
// t2i_adapter), without reading its tensors: whatever is wrong with config, names and shapes is found now. Throws
// Error(input).
Survey survey(const std::string& name, const Component& component);

// Throws Error(input) unless the pipeline class of a model_index.json is supported.
void require_family(const Config& index);
// Throws Error(usage or input) where the model's scheduler would not run.
void require_scheduler(const ModelFiles& model);
// Throws Error(input) unless a model's parts fit together, as far as their configs tell.
void require_together(const ModelFiles& model);

// What people call the family: "Stable Diffusion 1", "Stable Diffusion 2", "SDXL", "SDXL refiner", with " inpainting",
// " depth" or " LCM" added where that is so; "unconditional". Throws Error(input) as require_family does.
std::string family_name(const ModelFiles& model);

// The size of the pictures that the networks were trained on. Throws Error(input).
Size native_size(const ModelFiles& model);

}  // namespace sdgen
