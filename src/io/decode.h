// From encoded numbers to float32. No torch here.
//
// Blocks of GGUF: ggml's quants, as gguf's reference reader (gguf-py, quants.py) computes them, to the bit. Float8:
// "FP8 Formats for Deep Learning" (Micikevicius et al., 2022): E4M3 has no infinities, E5M2 does.
#pragma once

#include <span>

#include "io/tensor_file.h"

namespace sdgen {

// Can decode() read it? Not integers, which mean nothing by themselves.
bool decodes(Encoding encoding);

// Whole blocks -> their numbers, `to` has room for all of them. Requires decodes(encoding).
void decode(Encoding encoding, std::span<const std::byte> blocks, float* to);

}  // namespace sdgen
