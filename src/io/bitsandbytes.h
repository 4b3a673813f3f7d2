// Codes of bitsandbytes (https://github.com/bitsandbytes-foundation/bitsandbytes), as diffusers and transformers save
// them, and as single files have them.
//
// Of four bits ("QLoRA", Dettmers et al., 2023): X.weight has two codes a byte in the order of the tensor, the first
// one in the upper half; X.weight.quant_state.bitsandbytes__nf4 (or __fp4) says in JSON how many numbers share a scale,
// and the shape and type that the tensor had; X.weight.absmax has the scales. These may be codes themselves: places in
// X.weight.nested_quant_map, with scales X.weight.nested_absmax and an offset.
// Of eight bits ("LLM.int8()", Dettmers et al., 2022): X.weight has int8, X.SCB the largest number of each row.
#pragma once

#include "io/quantization.h"

namespace sdgen {

// As describe_codes().
void describe_bitsandbytes(const std::string& source, TensorEntries& tensors, TensorTable::Described& described);

}  // namespace sdgen
