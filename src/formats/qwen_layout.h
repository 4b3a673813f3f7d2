// Qwen-Image's autoencoder in a single file, in the names of Wan's, which it was made of, or in diffusers'. No torch
// here.
//
// Names of modules: vae.py of Alibaba's Wan2.1.
#pragma once

#include <optional>

#include "formats/original_layout.h"

namespace sdgen {

// Empty if there is none, alone or beside a transformer. How its latents are scaled no file says: as in all that were
// released. Throws Error(input) for one that is incomplete.
std::optional<ForeignComponent> qwen_autoencoder(const TensorTable& table);

}  // namespace sdgen
