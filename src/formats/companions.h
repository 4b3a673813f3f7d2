// Whether what a transformer was given beside it is what it was trained with, and what people get instead.
#pragma once

#include "formats/model_files.h"

namespace sdgen {

// Throws Error(input) unless a transformer's autoencoder and language model are of the kinds that it was trained with.
void require_companions(const ModelFiles& model);
// The same of an autoencoder that stands for the model's own.
void require_autoencoder(const ModelFiles& model, const Component& autoencoder);

// What is wanted where a language model has another width: "; it takes one of 2560, as Qwen3-4B is: ...".
std::string wanted_language_model(const ModelFiles& model, std::int64_t width);

}  // namespace sdgen
