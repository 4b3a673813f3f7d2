// Diffusion transformers in single files, in their makers' names or in diffusers', alone or with text encoders and an
// autoencoder inside, seen as the components of a diffusers folder. Everything that shapes show is read off them; what
// they do not show is decided, and told. No torch here.
#pragma once

#include <optional>

#include "formats/original_layout.h"

namespace sdgen {

// The model whose transformer is in the file, whatever else is; empty if there is none. Throws Error(input) for one
// that is incomplete.
std::optional<OriginalCheckpoint> transformer_checkpoint(const TensorTable& table);

}  // namespace sdgen
