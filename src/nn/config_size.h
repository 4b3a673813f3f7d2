// Sizes of networks in their configs.
#pragma once

#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen {

// Throws Error(input) that names key and value unless it is 1 to `most`.
inline std::int64_t config_size(const Config& json, const char* key, std::int64_t fallback, std::int64_t most) {
  const std::int64_t size = json.integer(key, fallback);
  if (size < 1 || size > most) json.unsupported(key, concat("expected 1 to ", most));
  return size;
}

}  // namespace sdgen
