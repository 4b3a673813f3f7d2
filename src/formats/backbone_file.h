// A denoising network that was published alone, beside a model that has all the rest: Lightning, Turbo, LCM and other
// distillations. No torch here.
#pragma once

#include <filesystem>

#include "formats/model_files.h"

namespace sdgen {

// Puts the network at `path` in the place of the model's own: a folder with config.json, that of a model, or a single
// file in the original layout or in diffusers' names. Pipeline, scheduler and defaults follow it, as far as it says
// something about them. A single file does not say all that a config.json does: the rest is as the model's own network
// has it. Throws Error(input, or usage for a model that has no such network).
void replace_backbone(ModelFiles& model, const std::filesystem::path& path);

}  // namespace sdgen
