// What a model is asked at every step, which LoRAs change.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/memory.h"
#include "families/family.h"
#include "pipeline/on_device.h"
#include "pipeline/timed.h"

namespace sdgen {

// It is there once, with the LoRAs of whoever asked last; with others it is read again from the model's files, after it
// was let go. Whoever still draws with it keeps it. That is exact, needs no copy of what LoRAs change, and costs as
// much as loading it does. Thread-safe.
class StepNetwork {
 public:
  // `parts` must outlive this. `path`: the model's, for messages.
  StepNetwork(const Parts& parts, std::filesystem::path path) : parts_(parts), path_(std::move(path)) {}

  // Throws Error(input, device).
  StepPart with(const std::vector<Lora>& loras, Observer& observer) {
    const std::lock_guard guard(lock_);
    if (network_.backbone && loras_ == loras) return network_;
    Timed timed(observer, Stage::load, 0);
    network_ = {};
    network_ = on_device(concat("loading ", path_.string()), [&] { return parts_.make_step(loras); });
    loras_ = loras;
    release_host_memory(parts_.device);
    release_kept_blocks();
    timed.end();
    return network_;
  }

  // Lets go of it, where something else needs its memory.
  void forget() {
    const std::lock_guard guard(lock_);
    network_ = {};
    release_kept_blocks();
  }

 private:
  const Parts& parts_;
  std::filesystem::path path_;
  std::mutex lock_;
  std::vector<Lora> loras_;
  StepPart network_;
};

}  // namespace sdgen
