// Whatever the names and shapes in a weight file (see table.h) are, their kind is found, they are mapped to the
// networks' own names or refused with Error(input).
#include <memory>

#include "formats/control_files.h"
#include "formats/file_kind.h"
#include "formats/lora_names.h"
#include "formats/lora_positions.h"
#include "formats/lora_summary.h"
#include "formats/model_files.h"
#include "formats/original_layout.h"
#include "formats/text_encoder_files.h"
#include "formats/tiny_layout.h"
#include "fuzz.h"
#include "table.h"

using namespace sdgen;
using fuzz::accepts;

namespace {

std::shared_ptr<const TensorTable> fixture(const char* file) {
  return std::make_shared<TensorTable>(std::vector<std::filesystem::path>{std::string(SDGEN_FIXTURES "/") + file});
}

LoraNames::Parameters parameters(const TensorTable& table) {
  LoraNames::Parameters shapes;
  for (const auto& [name, entry] : table.tensors()) shapes[name] = entry.where->shape;
  return shapes;
}

const LoraNames& tiny_model() {
  static const LoraNames names = [] {
    LoraNames result;
    result.add(model_part("unet"), Architecture::unet,
               parameters(*fixture("tiny-sd/unet/diffusion_pytorch_model.safetensors")));
    LoraNames::Parameters text;
    for (const auto& [name, shape] : parameters(*fixture("tiny-sd/text_encoder/model.safetensors")))
      text[name.starts_with("text_model.") ? name.substr(11) : name] = shape;
    result.add(model_part("text_encoder"), Architecture::clip_text, text);
    return result;
  }();
  return names;
}

// Everything that a network could ask for: its own names, and those in the file.
void locate_all(const Locate& locate, const TensorTable& table) {
  static const auto unet = fixture("tiny-sd/unet/diffusion_pytorch_model.safetensors");
  if (!locate) return;
  for (const TensorTable* names : {unet.get(), &table})
    for (const auto& [name, entry] : names->tensors())
      accepts({Fault::input}, [&, &name = name] {
        const Place place = locate(name);
        fuzz::require(place.part >= 0 && place.count >= 1 && place.part + place.count <= place.parts,
                      "parts of a stack", name);
      });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const fuzz::TableFile file(fuzz::text_of(bytes, size), std::uint64_t{1} << 34);
  std::shared_ptr<const TensorTable> table;
  if (!accepts({Fault::input}, [&] { table = std::make_shared<TensorTable>(std::vector{file.path()}); })) return 0;

  summarize_file(*table);
  summarize_lora(*table);
  const Error described(Fault::input, describe_file(*table));  // whose what() has fields' names without marks
  fuzz::require(fuzz::fit_for_terminal(described.what()), "a description fit for a terminal");
  const Warn warn = [](const std::string&) {};
  accepts({Fault::input}, [&] {
    for (const Component& c : open_checkpoint(table, warn).components) locate_all(c.locate, *table);
  });
  accepts({Fault::input}, [&] {
    if (const auto vae = autoencoder(*table, 0.18215)) locate_all(vae->locate, *table);
  });
  accepts({Fault::input}, [&] {
    if (const auto vae = tiny_autoencoder(*table)) locate_all(vae->locate, *table);
  });
  accepts({Fault::input}, [&] {
    if (const auto text = text_encoder_of(table)) locate_all(text->locate, *table);
  });
  accepts({Fault::input, Fault::usage}, [&] {
    ModelFiles model = open_checkpoint(table, warn);
    take_text_encoders(model, {file.path()});
    model.lacking();
  });
  accepts({Fault::input}, [&] { locate_all(controlnet_of(table, nullptr).locate, *table); });
  accepts({Fault::input}, [&] { locate_all(t2i_adapter_of(table).locate, *table); });
  accepts({Fault::input}, [&] {
    for (const auto& [spelling, module] : numbered_modules(*table, tiny_model())) tiny_model().shape(module, "weight");
    for (const auto& [name, entry] : table->tensors()) {
      if (const auto key = lora_key(name))
        if (const LoraNames::Modules* modules = tiny_model().find(key->module))
          for (const LoraNames::Module& module : *modules)
            fuzz::require(tiny_model().parameters(*module.part) != nullptr, "a module of the model", name);
      old_attention_name(name);
      is_leftover(name);
    }
  });
  // The names of a network are those of its checkpoint.
  LoraNames own;
  own.add(model_part("unet"), Architecture::unet, parameters(*table));
  for (const Architecture one :
       {Architecture::flux_transformer, Architecture::sd3_transformer, Architecture::pixart_transformer,
        Architecture::z_image_transformer, Architecture::lumina2_transformer, Architecture::flux2_transformer,
        Architecture::chroma_transformer, Architecture::qwen_transformer})
    own.add(model_part("transformer"), one, parameters(*table));
  own.add(model_part("text_encoder_3"), Architecture::t5, parameters(*table));
  for (const auto& [name, entry] : table->tensors())
    accepts({Fault::input}, [&, &name = name] { read_values(*table, name); });
  return 0;
}
