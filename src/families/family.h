// A family of models: the diffusers pipelines that run them, and the parts that a model of it is made of.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "adapters/steering.h"
#include "diffusion/denoiser.h"
#include "diffusion/scheduler_config.h"
#include "formats/model_files.h"
#include "model/conditioner.h"
#include "nn/autoencoder.h"
#include "nn/backbone.h"
#include "sdgen/sdgen.h"
#include "text/class_names.h"
#include "text/known_words.h"

namespace sdgen {

// What a request leaves open.
struct Defaults {
  std::optional<int> steps = {}, width = {}, height = {};
  std::optional<double> guidance_scale = {};
  std::optional<double> strength = {};  // none: it takes no pictures
  std::optional<std::string> negative_prompt = {};
  std::optional<std::string> scheduler = {};    // none: the one that its folder names
  std::optional<int> max_sequence_length = {};  // none: the text part's

  // With `others` where there is none.
  Defaults over(const Defaults& others) const;
};

// What a pipeline does with its model's scheduler.
struct SchedulerRules {
  // Of its config; and for requests with a mask.
  PipelineQuirks quirks = PipelineQuirks::stable_diffusion, repaint_quirks = PipelineQuirks::inpainting;
  // Strength chooses among the steps that the network was distilled on, and as many as asked for are run, rather than
  // leaving out the first ones.
  bool strength_spreads = false;
  // Of the steps that strength leaves out, a part of one is run, too.
  bool strength_rounds_up = false;
  bool even_sigmas = false, empirical_shift = false;  // see GridWish
  // A shift that grows with the picture's tokens grows with the latents' channels instead: what diffusers'
  // Lumina2Pipeline counts.
  bool counts_channels = false;
};

// The numbers about a picture's sizes that a backbone is told, for the row of a prompt or of a negative prompt.
struct SizeInputs {
  std::int64_t count = 0;
  std::vector<float> (*of)(const Request& request, bool negative) = nullptr;
};

// What a backbone takes beside the latents: nothing; a mask and the picture's latents without what it covers
// (inpainting), or these and the mask's every pixel (Flux Fill); a depth map; the latents of a picture that steers
// (Flux Depth and Canny).
enum class ExtraChannels { nothing, masked_picture, picture_and_mask, depth, steering_picture };

// The pictures that a backbone is shown to draw another one of.
struct ShownPictures {
  int most = 0;  // how many; 0: it is shown none
  // One of these, the nearest in shape, is their size; or, where there are none, their own, less what is beyond whole
  // patches, at each side half, and in all at most so many pixels.
  std::vector<Size> sizes = {};
  std::int64_t most_pixels = 0;
  int least_side = 1;       // of such a picture of its own size, in pixels
  double most_lengthy = 0;  // and how many times as long as wide it may be, or as wide as long
  bool gives_size = false;  // the first one's size is that of the picture, where nothing else is asked for
};

struct TextPart {
  // Builds the encoders, with these LoRAs, when they are needed: their scope is their memory plan.
  std::function<std::unique_ptr<TextConditioner>(std::span<const Lora>)> make;
  int most_skipped = 0;            // the largest Request::clip_skip
  std::uint64_t bytes = 0;         // of the encoders' weights, as they are computed with
  std::size_t encoders = 1;        // how many texts of a request it reads
  int max_sequence_length = 0;     // where a request says nothing; 0: it must not
  int most_sequence_length = 512;  // that a request may say: what diffusers' pipelines take
  // A prompt's context is as long as the prompt: rows of a batch are asked one by one (nn/row_by_row.h).
  bool any_length = false;
  bool weights = true;                             // it may be told to weigh words (PromptSyntax::weighted)
  bool negatives_read_apart = false;               // see TextSettings::negative
  bool zero_empty_negative = false;                // no negative prompt means zeros, not the encoded empty prompt
  std::shared_ptr<const ClassNames> classes = {};  // prompts name one of these; null: they say what they like
  std::shared_ptr<const KnownWords> known = {};    // null: nobody says which words it knows
};

// What is denoised: latents, or pictures themselves.
struct Latents {
  std::int64_t channels = 4;
  std::int64_t factor = 1;        // pixels a latent, along a side
  std::int64_t multiple = 1;      // of the picture's sides
  std::int64_t most = kMostSide;  // of the picture's sides
  std::int64_t patch = 1;         // latents a token of the backbone, along a side
  // The sizes that the backbone draws: others are cut from the one that is nearest in shape. Empty: it draws any.
  std::vector<Size> drawn = {};
  double offset = 0;  // that the autoencoder has moved them by
  // What repainted latents are moved by before they are decoded: diffusers' pipeline for Stable Diffusion 3 forgets to
  // undo the autoencoder's shift.
  double repaint_offset = 0;
};

// What is asked at every step.
struct StepPart {
  std::shared_ptr<const Backbone> backbone = {};
  Steer steer = {};  // the same with those that steer it; null: nothing can
  // The same without some of its layers; null: it can do no such thing.
  std::function<std::shared_ptr<const Backbone>(const std::vector<int>& layers)> without = {};
  // The same with a memory of a run's calls: one for each run of so many pictures. Of Parts::cache's kind.
  std::function<std::shared_ptr<const Backbone>(const StepCache& cache, std::int64_t pictures)> cached = {};
};

// What a model makes of LoRAs; reads their headers, and little else. Throws Error(usage, input) for those that it has
// no use for. Thread-safe.
using LoraInfos = std::function<std::vector<LoraInfo>(std::span<const Lora>)>;

// From latents to pictures and back.
struct PicturePart {
  std::function<std::unique_ptr<Autoencoder>(at::ScalarType)> make;
  at::ScalarType dtype = at::kFloat;  // in another one, when it overflows
  std::uint64_t bytes = 0;            // of its weights, as they are computed with
};

struct Parts {
  std::string family;  // "_class_name" of model_index.json
  at::Device device;
  at::ScalarType dtype;
  std::optional<TextPart> text = {};  // none: it draws without a text
  // With these LoRAs: where anything is wrong with them, lora_infos() says so. Reads the model's files.
  std::function<StepPart(std::span<const Lora>)> make_step = {};
  std::uint64_t step_bytes = 0;     // of its weights, as they are computed with
  Replays::Recorder recorder = {};  // of its calls, and of those of what steers it; null: they are not recorded
  // The backbone was distilled on guidance: it needs no second pass, and the guidance scale is an input, or nothing. It
  // may be asked twice all the same: Request::true_cfg_scale.
  bool guidance_distilled = false, takes_guidance_scale = true, true_guidance = false;
  double usual_true_cfg_scale = 0;  // of requests with a negative prompt that do not say one; 0: none
  // The guidance scale that leaves the prompt's answer as it is, and up to which it is the only one that is asked for:
  // 1 of u + scale * (c - u), 0 of c + scale * (c - u) (Z-Image).
  double neutral_guidance = 1;
  KeptNorms kept_norms = KeptNorms::none;
  std::int64_t skippable_layers = 0;                             // see StepPart::without
  std::optional<StepCache::Kind> cache = StepCache::Kind::deep;  // see StepPart::cached; nothing: it has none
  SizeInputs sizes = {};
  ExtraChannels extra_channels = ExtraChannels::nothing;
  Latents latents = {};
  PicturePart picture = {};
  Config scheduler;
  SchedulerRules rules = {};  // of its pipeline
  // Two of them may divide the noise levels between them, as SDXL and its refiner do.
  bool refinable = false;
  bool finishes = false;     // it was trained on the last noise levels alone: it does not begin a picture
  Defaults defaults = {};    // sizes, steps, guidance
  Defaults of_picture = {};  // the same for requests with an init image
  Defaults repaint = {};     // the same for requests with a mask
  ShownPictures shown = {};  // what becomes of Request::references
  Steering steering = {};
  LoraInfos lora_infos = {};
  std::vector<TextualInversionInfo> textual_inversions = {};
  std::vector<std::string> notes = {};  // see ModelFiles
};

struct AssembleOptions {
  at::Device device;
  Precision precision;
  Quantize quantize = Quantize::none;
  std::optional<std::filesystem::path> backbone = {}, vae = {};  // instead of the model's own
  std::vector<std::filesystem::path> text_encoders = {};         // likewise, or those that it lacks
  std::vector<TextualInversion> textual_inversions = {};
  bool strict = false;
  std::vector<std::filesystem::path> controlnets = {}, adapters = {};
  std::shared_ptr<OffloadDevice> shared = {};  // null: all networks are on the device all the time
};

// A diffusers pipeline, and how a model for it becomes parts.
struct Family {
  const char* pipeline;      // "_class_name" of model_index.json
  Defaults defaults = {};    // of the pipeline; sizes are the model's
  Defaults of_picture = {};  // where it differs for requests with an init image
  Defaults repaint = {};     // and for those with a mask
  SchedulerRules rules = {};
  bool takes_text = true;
  // What people call such a model.
  std::string (*name)(const ModelFiles& model);
  Size (*native_size)(const ModelFiles& model);
  // Throws Error(input) unless the parts fit together, as far as their configs tell.
  void (*require_fit)(const ModelFiles& model);
  Parts (*assemble)(const ModelFiles& model, const Family& family, const AssembleOptions& options, const Warn& warn);
};

// A file each: sd.cpp, sdxl.cpp, sd3.cpp, flux.cpp, flux2.cpp, chroma.cpp, pixart.cpp, dit.cpp, z_image.cpp,
// lumina2.cpp, qwen_image.cpp, pixels.cpp.
std::vector<Family> sd_families();
std::vector<Family> sdxl_families();
std::vector<Family> sd3_families();
std::vector<Family> flux_families();
std::vector<Family> flux2_families();
std::vector<Family> chroma_families();
std::vector<Family> pixart_families();
std::vector<Family> qwen_image_families();
std::vector<Family> dit_families();
std::vector<Family> z_image_families();
std::vector<Family> lumina2_families();
std::vector<Family> pixel_families();

}  // namespace sdgen
