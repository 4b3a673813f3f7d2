// LoRA files as they are asked for: --lora PATH:SCALE, and AUTOMATIC1111's <lora:NAME:SCALE> in prompts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

// PATH, PATH:SCALE or PATH:unet=X,te=Y (either may be left out: 1). What follows the last ':' is a scale unless it has
// a '/' or ends in ".safetensors". Throws Error(usage).
Lora lora(const Argument& argument);
// As it is read.
std::string written(const Lora& lora);

// Takes the tags <lora:NAME>, <lora:NAME:SCALE> and <lora:NAME:TE:UNET> out of `prompt` and adds what they name,
// FOLDER/NAME.safetensors, to `loras`. Throws Error(usage) for a tag without a folder to look in, one that cannot be
// read, and a file that was asked for before: one model makes all pictures of a run.
void take_lora_tags(std::string& prompt, const std::optional<std::string>& folder, std::vector<Lora>& loras);

}  // namespace sdgen::cli
