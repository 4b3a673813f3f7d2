// Reader of the safetensors format (https://github.com/huggingface/safetensors, "Format"): every rule is checked when a
// file is opened.
#pragma once

#include <filesystem>
#include <utility>

#include "io/tensor_file.h"

namespace sdgen {

class Safetensors : public OpenTensorFile {
 public:
  // Throws Error(input) that names the file, the fault and the numbers.
  explicit Safetensors(InputFile file);
  explicit Safetensors(std::filesystem::path path) : Safetensors(InputFile(std::move(path))) {}
  const char* format() const override { return "safetensors"; }
};

}  // namespace sdgen
