// Decoder language models in files, of which the text model alone is used: what their config.json would say, read off
// names and shapes, and where their tensors lie. No torch here.
//
// Names of modules: transformers', with what stands before the text model's; llama.cpp's of gguf-py, constants.py.
#pragma once

#include "formats/model_files.h"

namespace sdgen {

// By any of its tensors: one that is missing is told by its name when it is asked for.
bool decoder_in(const TensorTable& table);

// The text model of a single file, as transformers names it. What shapes do not show is as in all that were released
// with diffusion models, or what GGUF's metadata says. Throws Error(input) for Gemma 2 in GGUF.
ForeignComponent decoder_text(const TensorTable& table);

// Says how to find the text model among a folder's tensors in transformers' names, and that the rest, what makes words
// and what sees, belongs to it and is not used.
void find_text_model(Component& c);

}  // namespace sdgen
