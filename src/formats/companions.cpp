#include "formats/companions.h"

#include "formats/known_widths.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Of its transformer; null where it has none, or one that is published with all the rest.
const Companions* companions_in(const ModelFiles& model) {
  const Component* network = model.find("transformer");
  return network ? companions_of(network->type->architecture) : nullptr;
}

}  // namespace

std::string wanted_language_model(const ModelFiles& model, std::int64_t width) {
  const std::string name = language_model_of(width);
  const Companions* others = companions_in(model);
  return concat("; it takes one of ", width, name.empty() ? "" : concat(", as ", name, " is"), ": name it with ",
                FieldName{"text_encoders"}, others ? concat(", from ", others->text_source) : "");
}

void require_autoencoder(const ModelFiles& model, const Component& autoencoder) {
  const Companions* others = companions_in(model);
  const Architecture own = autoencoder.type->architecture;
  if (!others || own == others->autoencoder ||
      (own == Architecture::tiny_autoencoder && others->autoencoder == Architecture::autoencoder_kl))
    return;
  throw Error(Fault::input, concat(autoencoder.tensors->source(), ": is an ", autoencoder.type->name, ", expected an ",
                                   component_class(others->autoencoder).name, " for ", model.path.string(), ": name ",
                                   others->autoencoder_origin(), ", with ", FieldName{"vae"}));
}

void require_companions(const ModelFiles& model) {
  const Companions* others = companions_in(model);
  if (!others) return;
  for (const Component* own : model.with(Role::autoencoder)) require_autoencoder(model, *own);
  for (const Companions::Text& text : others->text) {
    const Component* own = model.find(text.part);
    if (!own || !*text.model_type || own->type->architecture != Architecture::decoder_text) continue;
    if (own->config.string("model_type", "") == text.model_type) continue;
    throw Error(Fault::input, concat(own->tensors->source(), ": is a ", own->type->name, ", expected ",
                                     Companions::named(text), " for ", model.path.string(), ": name it with ",
                                     FieldName{"text_encoders"}, ", from ", others->text_source));
  }
}

}  // namespace sdgen
