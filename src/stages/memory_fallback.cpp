#include "stages/memory_fallback.h"

#include "sdgen/error.h"

namespace sdgen {

MemoryFallback::MemoryFallback(std::size_t rows, bool in_tiles, std::shared_ptr<OffloadDevice> device)
    : rows_(rows), in_tiles_(in_tiles), device_(std::move(device)) {
  if (device_) device_->set_layer_by_layer(false);
}

std::string MemoryFallback::next() {
  const bool whole = device_ && !device_->is_layer_by_layer();
  if (whole && (device_->was_too_small() || rows_ == 1)) {
    device_->set_layer_by_layer(true);
    return "layer by layer";
  }
  if (rows_ == 1) return "";
  rows_ /= 2;
  return concat(rows_, " at a time");
}

}  // namespace sdgen
