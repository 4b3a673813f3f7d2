// What a single file says of how its network was trained: by keys without numbers, by metadata, by shapes; and what
// follows for the pipeline, the scheduler and the defaults of a model. No torch here.
#pragma once

#include <optional>
#include <string>

#include "io/json.h"
#include "io/tensor_table.h"

namespace sdgen {

// Does the file say that its network predicts v? Empty where it says nothing.
std::optional<bool> says_v(const TensorTable& table);

// Adds what the file says: prediction type and zero terminal SNR to scheduler_config.json's keys, the size of pictures
// to those of sdgen.json. Throws Error(input) for a training that is not supported.
void hear_training(const TensorTable& table, Json& scheduler, Json& defaults);

// The size of pictures that the file says that it was trained on, in the words of sdgen.json; empty where it does not.
Json said_size(const TensorTable& table);

// What a model's U-Net decides about the rest of it, by its input channels and its guidance.
struct UNetDecides {
  std::string& pipeline_class;
  Json &scheduler, &defaults;
};
// `unet`: its config.
void suit_unet(const Config& unet, UNetDecides rest);
// The same of a model that was made for the U-Net `old`: what followed from that one goes.
void suit_unet_instead(const Config& unet, const Config& old, UNetDecides rest);

}  // namespace sdgen
