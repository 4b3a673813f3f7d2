// Decoder language models in files, of which the text model alone is used: where its tensors lie. No torch here.
#pragma once

#include "formats/model_files.h"

namespace sdgen {

// Says how to find the text model among tensors in transformers' names: with what before "layers" ("model.", or
// "model.language_model." where it is a part of one that sees), and that the rest, what makes words and what sees,
// belongs to it and is not used.
void find_text_model(Component& c);

}  // namespace sdgen
