// What families do alike when they make parts of a model's files.
#pragma once

#include "adapters/lora.h"
#include "families/family.h"
#include "model/clip_encoder.h"
#include "model/decoder_encoder.h"
#include "model/network_files.h"
#include "model/t5_encoder.h"

namespace sdgen {

// sdgen.json beside model_index.json, or beside a single file, over what that says of itself: defaults by the model's
// authors. (What it says of the words that the model knows is of the text part.) Throws Error(input).
Defaults read_defaults(const ModelFiles& model);
// Those of the model's authors over its pipeline's, and the size that its network was trained on.
void set_defaults(Parts& parts, const Family& family, const Defaults& authors, Size native);

// The autoencoder asked for, or the model's own. A single file does not say how its latents are scaled: as the model's,
// or, where that does not tell, as `scaling` says.
Component choose_autoencoder(const ModelFiles& model, const AssembleOptions& options, LatentScaling scaling);
AutoencoderInfo autoencoder_info(const Component& autoencoder);
// `dtype`: the backbone's.
PicturePart picture_part(const Component& autoencoder, at::ScalarType dtype, const AssembleOptions& options);

// What LoRAs come to in the networks that they may change.
std::shared_ptr<LoraFits> lora_fits(const std::vector<const Component*>& networks, const std::string& family,
                                    const AssembleOptions& options);

// What is made of a prompt: by which encoders, of which of their states, put together how.
struct TextInputs {
  std::vector<const Component*> encoders;
  ClipStates states = {};
  Join join = nullptr;
  int max_sequence_length = 0;  // tokens that T5 or a language model is told at once, unless a request says otherwise
  int most_sequence_length = 512;  // and the most that it may say
  T5Encoder::Padding t5_padding = T5Encoder::Padding::counts;
  DecoderPrompt decoder = {};  // of a language model
  bool lower_case = false;     // prompts are read in lower case, without white space around them
};
// Of a model for which there are none.
LoraInfos refuse_loras(const std::string& why);
// Of a network's weights, as they are computed with on `device` in this type.
std::uint64_t bytes_of(const Component& network, at::Device device, at::ScalarType dtype);

// Adds the text part, with the words of textual inversions and of LoRAs; null: it takes none.
void add_text(Parts& parts, const ModelFiles& model, const TextInputs& inputs, const std::shared_ptr<LoraFits>& fits,
              const AssembleOptions& options);

// What is asked at every step, `network`, which `make` reads to its place `where`; its calls are recorded where they
// can be.
void add_step(Parts& parts, const Component& network, const Where& where,
              std::function<StepPart(std::span<const Lora>)> make);

// A network's place, and its turn among those that share a device.
Where place_on(const AssembleOptions& options, at::ScalarType dtype);

}  // namespace sdgen
