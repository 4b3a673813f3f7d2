// Reader of GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3: every rule is checked
// when a file is opened.
//
// A tensor's shape is given as torch has it, rows last but one; where ComfyUI-GGUF kept the shape that a tensor had
// before it was flattened into blocks ("comfy.gguf.orig_shape."), it is that one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "io/tensor_file.h"

namespace sdgen {

// ggml's number for tensors in such an encoding; nothing where it has none.
std::optional<std::uint32_t> gguf_type(Encoding encoding);

// What such files begin with.
inline constexpr std::string_view kGgufMagic = "GGUF";

// metadata() has what is one value; lists (vocabularies) are left out.
class Gguf : public OpenTensorFile {
 public:
  // Throws Error(input) that names the file, the fault and the numbers.
  explicit Gguf(InputFile file);
  explicit Gguf(std::filesystem::path path) : Gguf(InputFile(std::move(path))) {}
  const char* format() const override { return "GGUF"; }
};

}  // namespace sdgen
