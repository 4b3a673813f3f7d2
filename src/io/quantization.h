// What describes the codes of a tensor, in the tensors beside it and in the file's metadata.
//
// Of X.weight (ComfyUI, comfy/ops.py and comfy/quant_ops.py): X.scale_weight beside a marker "scaled_fp8" (until 2025),
// or X.weight_scale with the name of its format in X.comfy_quant, or in "_quantization_metadata" of the file.
// Of bitsandbytes: see bitsandbytes.h.
#pragma once

#include <map>
#include <string>

#include "io/json.h"
#include "io/tensor_table.h"

namespace sdgen {

using TensorEntries = std::map<std::string, TensorTable::Entry, std::less<>>;

// Makes of codes and what describes them one entry each, under the name of the codes: nothing else of theirs is left in
// `tensors`. Throws Error(input), which begins with `source`, for formats that are not supported, by their names, and
// for descriptions that do not fit.
void describe_codes(const std::string& source, TensorEntries& tensors, TensorTable::Described& described);

// What several formats ask.

// A description in JSON that a tensor holds as bytes.
Json json_in(const TensorTable::Entry& entry, const std::string& who);
// The entry of this name, which leaves `tensors` for `described`; null where there is none.
TensorTable::Entry* take_out(TensorEntries& tensors, TensorTable::Described& described, const std::string& name);

// For who writes codes with a scale: what the scale of X.weight is called, and the tensor that describes the codes, and
// what that says.
std::string scale_name(std::string_view weight);
std::string description_name(std::string_view weight);
std::string description_of(Encoding encoding);

}  // namespace sdgen
