// Small safetensors files of real numbers.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

#include "base/scratch.h"
#include "io/json.h"
#include "weights/weights.h"

namespace sdgen::test {

using Tensors = std::map<std::string, at::Tensor>;

inline std::filesystem::path write_tensors(const Scratch& scratch, const std::string& name, const Tensors& tensors,
                                           const std::map<std::string, std::string>& metadata = {}) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string data;
  for (const auto& [key, tensor] : tensors) {
    const at::Tensor numbers = tensor.to(at::kFloat).contiguous();
    const std::size_t begin = data.size();
    data.append(static_cast<const char*>(numbers.const_data_ptr()), numbers.nbytes());
    header[key] = {{"dtype", "F32"}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, data.size()}}};
  }
  return scratch.write(name, safetensors_bytes(header.dump(), data));
}

// The tensors of all `files` (shards) together.
inline Weights open_weights(const std::vector<std::filesystem::path>& files, at::Device device, at::ScalarType dtype) {
  return {std::make_shared<TensorTable>(files), device, dtype};
}

}  // namespace sdgen::test
