// Writers of safetensors and GGUF: whole files or none, tile by tile, whatever the size of their tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "io/tensor_file.h"

namespace sdgen {

struct TensorsToWrite {
  const TensorFile& from;
  std::map<std::string, const StoredTensor*> tensors;  // of that file, by the names that they get
  TensorFile::Metadata metadata = {};
  int threads = 1;                                  // that read, which may be encoding
  std::function<void(std::uint64_t)> written = {};  // is told how many bytes there are; may throw
};

struct WeightFormat {
  const char *name, *ending;  // "safetensors", ".safetensors"
  // Has it such tensors?
  bool (*holds)(Encoding encoding);
  // Returns the file's size. Throws Error(input) for names that the format does not have, Error(output) as
  // write_file_atomically().
  std::uint64_t (*write)(const std::filesystem::path& path, const TensorsToWrite& what, bool overwrite);
};
extern const WeightFormat kSafetensorsFormat;
// Version 3. Vectors should be F32: ComfyUI and ggml take them for that. Tensors of more than four dimensions, and rows
// that are no whole blocks, are written as rows of blocks, their shape beside them as "comfy.gguf.orig_shape.NAME".
// Metadata are texts.
extern const WeightFormat kGgufFormat;

}  // namespace sdgen
