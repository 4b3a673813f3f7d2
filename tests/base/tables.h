// Small safetensors files by names and shapes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/scratch.h"
#include "io/json.h"

namespace sdgen {

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

// Writes a file of float16 zeros.
inline std::filesystem::path write_table(const Scratch& scratch, const std::string& name, const Shapes& shapes,
                                         const std::map<std::string, std::string>& metadata = {}) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t end = 0;
  for (const auto& [tensor, shape] : shapes) {
    const std::size_t begin = end;
    std::size_t bytes = 2;
    for (const std::int64_t n : shape) bytes *= n;
    end += bytes;
    header[tensor] = {{"dtype", "F16"}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  return scratch.write(name, safetensors_bytes(header.dump(), std::string(end, '\0')));
}

}  // namespace sdgen
