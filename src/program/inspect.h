// `sdgen inspect`: what a file or folder is, without loading it. Only headers, configs and texts are read (and all
// bytes for the hash); networks are built on the meta device, so that what would not load is found.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace sdgen {

// Keys in the order in which people read them; absent where they mean nothing.
//   file, kind: checkpoint | component | lora | controlnet | t2i-adapter | ip-adapter | embedding | transformer | other
//   |
//     unknown | picture | pickle
//   format: safetensors | diffusers folder | png | jpeg | webp | avif | jxl, layout: original | diffusers (whose
//   names), what: its usual name
//   checkpoints: family, pipeline, prediction_type, zero_snr, scheduler, native_size [width, height],
//     components [{name, parameters, bytes, dtypes, dtype_bytes, memory, unread}], unread {count, names}, leftovers
//     {tensors, bytes}
//   other weight files: family (a guess by widths), component, algorithms, spellings, modules, ranks (LoRA), vectors
//     (embedding), tensors, parameters, bytes, dtypes, dtype_bytes, names, title, base_model, metadata
//   pictures: size [width, height], source_type (IPTC's DigitalSourceType), parameters, texts
//   warnings, files [{file, bytes, sha256, a1111_hash}], problem
// All strings that come from the file are cut to a sane length, and their control characters are written as \xNN.
using Report = nlohmann::ordered_json;

struct Inspection {
  Report report;
  std::string problem;  // why sdgen cannot use it, for stderr; "": nothing is wrong
};

// Throws Error(input) when nothing can be said about the path: missing, malformed.
Inspection inspect(const std::filesystem::path& path);

}  // namespace sdgen
