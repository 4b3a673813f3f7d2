// What to give up when memory runs out.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "weights/residency.h"

namespace sdgen {

// How a run works, from the fastest way down to the one that needs least memory.
class MemoryFallback {
 public:
  // `device`: of networks that take turns, which come as wholes to begin with; null: they do not.
  MemoryFallback(std::size_t rows, bool in_tiles, std::shared_ptr<OffloadDevice> device);

  std::size_t rows() const { return rows_; }   // pictures of a network call
  bool in_tiles() const { return in_tiles_; }  // the autoencoder, from the outset

  // Takes one step back, and says which: networks layer by layer, where one did not find room by itself; half as
  // many pictures; and layer by layer at last. Empty: there is nothing left to give up.
  std::string next();
  void go_in_tiles() { in_tiles_ = true; }

 private:
  std::size_t rows_;
  bool in_tiles_;
  std::shared_ptr<OffloadDevice> device_;
};

}  // namespace sdgen
