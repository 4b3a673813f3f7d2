// TAESD's own files (Bohan, 2023), seen as diffusers' AutoencoderTiny. No torch here.
#pragma once

#include <optional>

#include "formats/original_layout.h"

namespace sdgen {

// A tiny autoencoder in diffusers' names (decoder.layers.0.weight), or in its maker's: the same layers without
// "layers", in the decoder counted from 1, under decoder., taesd_decoder. or, in a file of the decoder alone, nothing.
// Empty if the table has no such decoder. Throws Error(input) where layers are missing.
std::optional<ForeignComponent> tiny_autoencoder(const TensorTable& table);

}  // namespace sdgen
