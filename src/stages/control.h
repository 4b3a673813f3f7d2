// Pictures that steer: from Request::controls to a network that they steer.
#pragma once

#include <memory>

#include "stages/batch.h"
#include "stages/model_run.h"

namespace sdgen {

// The run's U-Net at each call, as the batch's pictures steer it. Throws Error(device).
PerCall<std::shared_ptr<const Backbone>> steer(const std::shared_ptr<const UNet>& unet, const ModelRun& run,
                                               const Batch& batch);

}  // namespace sdgen
