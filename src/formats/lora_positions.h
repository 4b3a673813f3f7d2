// Cloneofsimo's LoRA files (lora_diffusion's save_safeloras): modules have numbers, not names. "unet:17:up" is the
// eighteenth layer that the trainer met on its walk through the network; the file's metadata says what it looked for.
#pragma once

#include <map>
#include <string>

#include "formats/lora_names.h"
#include "io/tensor_table.h"

namespace sdgen {

// "unet:17" -> the module, for every number that the model has; empty for files without numbers. Where the walk depends
// on the diffusers release that the trainer used, it is the one that the shapes fit.
std::map<std::string, LoraNames::Module> numbered_modules(const TensorTable& table, const LoraNames& names);

}  // namespace sdgen
