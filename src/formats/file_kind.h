// What a weight file is, by its names and shapes alone. No torch here.
#pragma once

#include <string>

#include "formats/components.h"
#include "io/tensor_table.h"

namespace sdgen {

enum class FileKind {
  checkpoint,  // U-Net or transformer, and text encoders (and an autoencoder), in one file
  component,   // one of these alone
  lora,
  controlnet,
  t2i_adapter,
  ip_adapter,
  embedding,    // textual inversion
  transformer,  // a diffusion transformer, with an autoencoder or without: Stable Diffusion 3, PixArt, Flux
  other,        // known, and of no use here
  unknown,
};

struct FileSummary {
  FileKind kind = FileKind::unknown;
  std::string name;                 // what people call it: "LoRA", "U-Net", "Control-LoRA"
  std::string family;               // "Stable Diffusion 1", "SDXL", ...: a guess by widths; "": the file does not tell
  std::string layout;               // whose names, where there is a choice: "diffusers", "original"; "" elsewhere
  const ModelPart* part = nullptr;  // of a model, that a component is, or a transformer that is supported
};

// Never throws for what the file says.
FileSummary summarize_file(const TensorTable& table);

// The same as the end of a sentence that begins with "this is": "a LoRA for SDXL, which changes a model but is none".
std::string describe_file(const TensorTable& table);

}  // namespace sdgen
