// What describes the codes of a tensor, in the tensors beside it and in the file's metadata.
//
// Of X.weight (ComfyUI, comfy/ops.py and comfy/quant_ops.py): X.scale_weight beside a marker "scaled_fp8" (until 2025),
// or X.weight_scale with the name of its format in X.comfy_quant, or in "_quantization_metadata" of the file.
#pragma once

#include <map>
#include <string>

#include "io/tensor_table.h"

namespace sdgen {

// Throws Error(input) where a file's metadata describe layers in a format that is not supported, by its name.
void require_known_formats(const TensorFile& file);

// Moves scales from `tensors` to `scales`, under the names of what they scale, and joins both; drops what only says how
// codes are to be multiplied. Throws Error(input), which begins with `source`, for formats that are not supported, by
// their names, and for scales that do not fit.
using TensorEntries = std::map<std::string, TensorTable::Entry, std::less<>>;
void take_scales(const std::string& source, TensorEntries& tensors, TensorEntries& scales);

// For who writes codes with a scale: what the scale of X.weight is called, and the tensor that describes the codes, and
// what that says.
std::string scale_name(std::string_view weight);
std::string description_name(std::string_view weight);
std::string description_of(Encoding encoding);

}  // namespace sdgen
