// Pictures that steer: from Request::controls to a network that they steer.
#pragma once

#include <memory>

#include "families/families.h"
#include "stages/batch.h"
#include "stages/model_run.h"

namespace sdgen {

// The run's network as the batch's pictures steer it; null where nothing does. Throws Error(device).
std::unique_ptr<Backbone> steer(const ModelRun& run, const Batch& batch);

}  // namespace sdgen
