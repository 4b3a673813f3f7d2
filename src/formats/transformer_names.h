// What diffusion transformers call their tensors, in their makers' layouts and in diffusers', and T5's in GGUF. No
// torch here.
//
// Names of modules: mmdit.py of Stability AI's sd3.5, PixArt.py and PixArtMS.py of PixArt-alpha's repositories,
// model.py and layers.py of Black Forest Labs' flux, model.py of Lumina-Image 2.0, transformer.py of Z-Image;
// llama.cpp's of gguf-py, constants.py and tensor_mapping.py.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/unet_walk.h"

namespace sdgen {

// How diffusers calls blocks, before their number; the second are of one stream.
inline constexpr const char *kBlock = "transformer_blocks.", *kSingleBlock = "single_transformer_blocks.";
// Those of Lumina-Image 2 and Z-Image.
inline constexpr const char *kLayer = "layers.", *kPictureRefiner = "noise_refiner.",
                            *kPromptRefiner = "context_refiner.";

// A module of diffusers', or a tensor, and where a file has it: see Place.
struct NameRow {
  const char *own, *file;
  int part = 0, parts = 1, count = 1;
  bool swapped = false;
};

// Blocks that are numbered alike.
struct NumberedBlocks {
  const char *own, *file;  // what comes before the number
  std::span<const NameRow> rows;
  const char* swapped_in_last = "";  // a module of the last block alone whose halves are swapped
};

struct NameTable {
  std::span<const NameRow> outside;  // of the blocks
  std::span<const NumberedBlocks> blocks;
};
extern const NameTable kSd3Names, kPixArtNames, kFluxNames, kFlux2Names, kChromaNames, kZImageNames, kLumina2Names;
extern const NameTable kGgufT5Names, kGgufDecoderNames;  // llama.cpp's, of transformers'
extern const NameTable kQwenImageNames;                  // which are diffusers'
// XLabs' LoRAs: what they add to Flux; and what their ControlNets for it have beside copies of its layers.
extern const NameTable kXlabsNames, kXlabsControlNames;

// diffusers' names -> the makers', of a transformer whose tensors are `keys`. `names` lasts.
Locate original_names(const NameTable& names, const Keys& keys);
// The same of one that has these parameters, by diffusers' names.
Locate original_names(const NameTable& names, const std::map<std::string, std::vector<std::int64_t>>& parameters);

}  // namespace sdgen
