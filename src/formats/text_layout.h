// Text encoders in single files, seen as transformers' classes: what their config.json would say, read off names and
// shapes, and where their tensors lie. No torch here.
//
// Names of modules: model.py of open_clip, and transformers'.
#pragma once

#include <string>

#include "formats/original_layout.h"

namespace sdgen {

// By any of their tensors below a prefix: one that is missing is told by its name when it is asked for.
bool clip_in(const TensorTable& table, const std::string& prefix);
bool open_clip_in(const TensorTable& table, const std::string& prefix);
bool t5_in(const TensorTable& table, const std::string& prefix);

// CLIP's own encoder, as transformers names it, with or without "text_model.".
enum class ClipUse {
  plain,      // OpenAI's, whose summary goes unprojected, whether or not the file has a projection
  projected,  // OpenCLIP's, in transformers' names
};
ForeignComponent clip_text(const TensorTable& table, const std::string& prefix, ClipUse use = ClipUse::plain);

// What a model uses of OpenCLIP's encoder.
enum class Use {
  all,
  // Stable Diffusion 2 was trained on the last but one layer's result, and projects nothing: the last layer is left
  // out, as diffusers does, unless the file was written so already.
  all_but_the_last_layer,
};
ForeignComponent open_clip_text(const TensorTable& table, const std::string& prefix, Use use);

// The encoder of T5 version 1.1. Throws Error(input) for version 1.
ForeignComponent t5_text(const TensorTable& table, const std::string& prefix);

}  // namespace sdgen
