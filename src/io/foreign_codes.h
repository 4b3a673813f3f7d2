// Formats of codes that are known and not read, by what is beside the codes.
#pragma once

#include "io/quantization.h"

namespace sdgen {

// Throws Error(input) that names the format, a tensor of it, and what to get instead.
void refuse_foreign_codes(const std::string& source, const TensorEntries& tensors);

}  // namespace sdgen
