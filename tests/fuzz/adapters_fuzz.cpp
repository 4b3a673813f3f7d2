// Whatever the names and shapes in a weight file (see table.h) are, it is inspected; and as a LoRA, a textual
// inversion, a ControlNet, an adapter or an autoencoder of a tiny model it fits, or is refused with Error(input).
#include <memory>

#include "adapters/lora.h"
#include "adapters/textual_inversion.h"
#include "cli/report_text.h"
#include "families/families.h"
#include "formats/control_files.h"
#include "formats/tokenizers.h"
#include "fuzz.h"
#include "program/inspect.h"
#include "table.h"

using namespace sdgen;
using fuzz::accepts;

namespace {

namespace fs = std::filesystem;

const ModelFiles& tiny_model() {
  static const ModelFiles model = open_model(fs::path(SDGEN_FIXTURES) / "tiny-sd", [](const std::string&) {});
  return model;
}

struct Changed {
  const ModelPart* part;
  Architecture architecture;
  std::shared_ptr<const TensorTable> tensors;
};

// What LoRAs change: of the tiny model, and of a transformer and a T5 of a few modules.
const std::vector<Changed>& changed() {
  static const fuzz::TableFile flux(
      "transformer_blocks.0.attn.to_q.weight F32 4,4\n"
      "transformer_blocks.0.attn.to_k.weight F32 4,4\n"
      "transformer_blocks.0.attn.to_v.weight F32 4,4\n"
      "transformer_blocks.0.attn.to_q.bias F32 4\n"
      "transformer_blocks.0.attn.norm_q.weight F32 4\n"
      "transformer_blocks.0.attn.to_out.0.weight F32 4,4\n"
      "transformer_blocks.0.attn.to_out.0.bias F32 4\n"
      "single_transformer_blocks.0.attn.to_q.weight F32 4,4\n"
      "single_transformer_blocks.0.attn.to_k.weight F32 4,4\n"
      "single_transformer_blocks.0.attn.to_v.weight F32 4,4\n"
      "single_transformer_blocks.0.proj_mlp.weight F32 16,4\n"
      "single_transformer_blocks.0.norm.linear.weight F32 12,4\n"
      "norm_out.linear.weight F32 8,4\n"
      "x_embedder.weight F32 4,8\n",
      1 << 20);
  static const fuzz::TableFile t5("encoder.block.0.layer.0.SelfAttention.q.weight F32 4,4\n", 1 << 20);
  static const std::vector<Changed> all = [] {
    std::vector<Changed> parts;
    for (const char* name : {"unet", "text_encoder"}) {
      const Component& c = tiny_model().at(name);
      parts.push_back({c.part, c.type->architecture, c.tensors});
    }
    const auto table = [](const fuzz::TableFile& file) {
      return std::make_shared<const TensorTable>(std::vector{file.path()});
    };
    parts.push_back({&model_part("transformer"), Architecture::flux_transformer, table(flux)});
    parts.push_back({&model_part("text_encoder_2"), Architecture::t5, table(t5)});
    return parts;
  }();
  return all;
}

const LoraNames& names() {
  static const LoraNames all = [] {
    LoraNames result;
    for (const auto& [part, architecture, tensors] : changed()) {
      LoraNames::Parameters shapes;
      for (const auto& [key, entry] : tensors->tensors())
        shapes[key.starts_with("text_model.") ? key.substr(11) : key] = entry.where->shape;
      result.add(*part, architecture, shapes);
    }
    return result;
  }();
  return all;
}

void add_lora(const fs::path& file, const Warn& warn) {
  const std::vector<Lora> files = {{file, 0.5, 0.5}};
  const LoraSet loras(files, names(), "Stable Diffusion 1", false, warn);
  for (const auto& [part, architecture, tensors] : changed()) {
    const Weights w = loras.patch(Weights(tensors, at::kCPU, at::kFloat), *part);
    for (const auto& [tensor, entry] : tensors->tensors()) w.get(tensor, entry.where->shape);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text = fuzz::text_of(bytes, size);
  const fuzz::TableFile file(text, 1 << 20);
  const Warn warn = [](const std::string&) {};
  accepts({Fault::input}, [&] {
    const Inspection found = inspect(file.path());
    fuzz::require(fuzz::fit_for_terminal(cli::report_json(found.report)), "a report fit for a terminal");
    fuzz::require(fuzz::fit_for_terminal(cli::report_text(found.report)), "a report fit for a terminal");
  });
  accepts({Fault::input}, [&] { add_lora(file.path(), warn); });
  accepts({Fault::input, Fault::usage}, [&] {
    const std::vector<TextualInversion> files = {{file.path(), "word"}};
    const ModelPart &first = model_part("text_encoder"), &second = model_part("text_encoder_2");
    const TextualInversions inversions(files, {{&first, 32}, {&second, 64}});
    inversions.vectors(first);
    inversions.vectors(second);
    inversions.teach(*tokenizer_of(tiny_model().at(first.name)));
  });
  accepts({Fault::input}, [&] {
    survey(open_controlnet(file.path(), component_class(Architecture::controlnet), &tiny_model().at("unet").config));
  });
  accepts({Fault::input}, [&] { survey(controlnet_of(open_single_file(file.path()), nullptr)); });
  accepts({Fault::input}, [&] { survey(open_t2i_adapter(file.path())); });
  accepts({Fault::input}, [&] { survey(open_vae(file.path(), 0.18215)); });
  return 0;
}
