// Pictures that steer: from Request::controls to a network that they steer.
#pragma once

#include <memory>

#include "stages/batch.h"
#include "stages/model_run.h"

namespace sdgen {

// Checks what only the model can say of the pictures that steer. Throws Error(usage).
void settle_controls(const Models& models, const Request& request);

// The run's network at each call, as the batch's pictures steer it; `controls`: Start's. Throws Error(device).
PerCall<std::shared_ptr<const Backbone>> steer(const Steer& steer, const ModelRun& run, const Batch& batch,
                                               const std::vector<at::Tensor>& controls);

}  // namespace sdgen
