// What a loaded pipeline is.
#pragma once

#include <memory>
#include <mutex>

#include "stages/models.h"

namespace sdgen {

struct Pipeline::Impl {
  ModelInfo info;
  std::size_t batch_size;
  Models models;
  std::unique_ptr<const Autoencoder> autoencoder;  // of models.last()
  std::shared_ptr<OffloadDevice> shared;           // by networks that take turns; null: there is room for all
  bool tiles;                                      // the autoencoder's work, from the outset
  mutable std::mutex turns = {};                   // of sessions whose networks take turns
};

}  // namespace sdgen
