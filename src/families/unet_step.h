// What is asked at every step where a U-Net draws.
#pragma once

#include <memory>
#include <utility>

#include "families/family.h"
#include "nn/deep_cache.h"

namespace sdgen {

inline StepPart unet_step(std::shared_ptr<const UNet> unet, Steer steer = {}) {
  StepPart step{unet, std::move(steer)};
  step.cached = [unet](const StepCache& cache, std::int64_t) {
    return std::make_shared<DeepCached>(unet, cache.every, cache.layers);
  };
  return step;
}

}  // namespace sdgen
