// `sdgen convert`: a model's weights in other encodings, or in another format. No networks, no torch: names, encodings
// and numbers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "sdgen/sdgen.h"

namespace sdgen {

struct Conversion {
  // A file; a network's folder, which has config.json; or the folder of a diffusers pipeline.
  std::filesystem::path from;
  // NAME.safetensors or NAME.gguf; of a pipeline's folder a new folder.
  std::filesystem::path to;
  Precision dtype = Precision::automatic;  // of what is not encoded; automatic: as it is stored
  Quantize quantize = Quantize::none;
  bool overwrite = true;
  int threads = 1;
  std::function<void()> pause = {};  // is called between tiles; may throw
};

struct Converted {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;                       // of the files
  std::map<std::string, std::size_t> encodings;  // of the tensors
};

// Throws Error: usage (what a format does not hold), input (files, numbers that have no codes), output.
Converted convert(const Conversion& conversion);

}  // namespace sdgen
