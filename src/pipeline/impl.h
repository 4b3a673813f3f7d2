// What a loaded pipeline is.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "pipeline/step_network.h"
#include "stages/models.h"

namespace sdgen {

struct Pipeline::Impl {
  ModelInfo info;
  std::size_t batch_size;
  Models models;
  std::unique_ptr<const Autoencoder> autoencoder;  // of models.last()
  std::shared_ptr<OffloadDevice> shared;           // by networks that take turns; null: there is room for all
  bool tiles;                                      // the autoencoder's work, from the outset
  // Are text encoders and the networks that are asked at every step in memory at a time?
  enum class Turns { never, for_want_of_room, always };
  Turns turns_of_text;
  mutable std::mutex turns = {};                         // of sessions whose networks take turns
  std::vector<std::unique_ptr<StepNetwork>> steps = {};  // of each of the models

  // Of text encoders, beside what is in memory already.
  bool has_room_for_text() const;

  // A picture's LoRAs that a model gets: the refiner has none.
  static std::vector<Lora> of_model(std::size_t model, const std::vector<Lora>& loras) {
    return model == 0 ? loras : std::vector<Lora>();
  }
  // Says once of each LoRA what of it does not fit.
  void warn_of_misfits(std::span<const LoraInfo> loras, Observer& observer) const {
    for (const LoraInfo& lora : loras) {
      const std::lock_guard guard(told_lock);
      if (!lora.misfit.empty() && told.insert(lora.path).second) observer.warning(lora.misfit);
    }
  }
  mutable std::mutex told_lock = {};
  mutable std::set<std::filesystem::path> told = {};
};

}  // namespace sdgen
