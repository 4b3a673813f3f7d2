// Reader of GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3: every rule is checked
// when a file is opened.
//
// A tensor's shape is given as torch has it, rows last but one; where ComfyUI-GGUF kept the shape that a tensor had
// before it was flattened into blocks ("comfy.gguf.orig_shape."), it is that one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tensor_file.h"

namespace sdgen {

// ggml's number for tensors in such an encoding; nothing where it has none.
std::optional<std::uint32_t> gguf_type(Encoding encoding);

// What such files begin with.
inline constexpr std::string_view kGgufMagic = "GGUF";

// metadata() has what is one value; lists (vocabularies) are left out: gguf_lists() has them.
class Gguf : public OpenTensorFile {
 public:
  // Throws Error(input) that names the file, the fault and the numbers.
  explicit Gguf(InputFile file);
  explicit Gguf(std::filesystem::path path) : Gguf(InputFile(std::move(path))) {}
  const char* format() const override { return "GGUF"; }
};

// Lists of the metadata whose keys begin so: of texts, and of whole numbers of 32 bits; others are left out. Throws
// Error(input) as Gguf does.
struct GgufLists {
  std::map<std::string, std::vector<std::string>> texts;
  std::map<std::string, std::vector<std::int64_t>> numbers;
};
GgufLists gguf_lists(const std::filesystem::path& path, std::string_view front);

}  // namespace sdgen
