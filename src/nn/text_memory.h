// What a network's layers make of the text alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <vector>

namespace sdgen {

// Keys and values of cross-attention, which are the same at every step of a picture: they are computed at the first.
// Part of a Conditioning; one that keeps belongs to one thread at a time.
class TextMemory {
 public:
  using Tensors = std::vector<at::Tensor>;

  TextMemory() = default;
  // A copy of what it is a part of may be about other rows: it keeps nothing, and knows nothing.
  TextMemory(const TextMemory&) {}
  TextMemory& operator=(const TextMemory&) {
    forget();
    return *this;
  }

  // From now on the text and the weights stay as they are; until forget().
  void keep() { keeps_ = true; }
  void forget() {
    keeps_ = false;
    known_.clear();
  }

  // What `make` gives for this layer, or gave when the layer asked before.
  Tensors of(const void* layer, const std::function<Tensors()>& make) {
    if (!keeps_) return make();
    const auto found = known_.find(layer);
    return found == known_.end() ? known_.emplace(layer, make()).first->second : found->second;
  }

 private:
  bool keeps_ = false;
  std::map<const void*, Tensors> known_;
};

}  // namespace sdgen
