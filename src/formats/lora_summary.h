// What a LoRA file holds, by its names and shapes alone: which kinds of low-rank product, for which parts of which
// models. No torch here. Spellings: ComfyUI's comfy/lora.py and comfy/weight_adapter/ list them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "io/tensor_table.h"

namespace sdgen {

struct LoraSummary {
  std::set<std::string> algorithms;            // LoRA, LoHa, LoKr, DoRA, OFT, GLoRA, full difference, ...
  std::set<std::string> spellings;             // whose names: kohya, PEFT, diffusers, XLabs
  std::map<std::string, std::size_t> modules;  // how many of unet, transformer, text_encoder, text_encoder_2, t5, other
  std::map<std::int64_t, std::size_t> ranks;   // how many modules of each
  std::string family;                          // "Stable Diffusion 1", ...; "": the file does not tell
};

// Does this tensor belong to a LoRA?
bool is_lora_tensor(const TensorTable& file, const std::string& name);

// Has the file such tensors?
bool is_lora(const TensorTable& file);

// Of a file with such tensors; never throws for what the file says.
LoraSummary summarize_lora(const TensorTable& table);

// What AUTOMATIC1111 calls the file by: what kohya's trainer wrote down, else SHA-256 of what follows the header; its
// first 12 digits. Throws Error(input) when the file cannot be read.
std::string lora_hash(const TensorTable& table);
// The same where no more than the header is to be read; "": it does not say.
std::string written_lora_hash(const TensorTable& table);

}  // namespace sdgen
