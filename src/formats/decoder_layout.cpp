#include "formats/decoder_layout.h"

#include "sdgen/error.h"

namespace sdgen {

void find_text_model(Component& c) {
  for (const char* prefix : {"", "model.", "model.language_model.", "language_model.model.", "language_model."})
    if (c.tensors->find(concat(prefix, "embed_tokens.weight"))) {
      const std::string outer = prefix;
      c.locate = [outer](const std::string& name) { return Place(outer + name); };
      for (const auto& [name, entry] : c.tensors->tensors())
        for (const char* unused : {"lm_head.", "visual.", "model.visual."})
          if (name.starts_with(unused)) c.unused.insert(name);
      return;
    }
}

}  // namespace sdgen
