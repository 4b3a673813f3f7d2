// Pictures that steer: from Request::controls to a network that they steer.
#pragma once

#include <memory>

#include "families/families.h"
#include "stages/batch.h"
#include "stages/leg.h"

namespace sdgen {

// The leg's network as the batch's pictures steer it, for one run; null where nothing does. Throws Error(device).
std::unique_ptr<Backbone> steer(const Leg& leg, const Batch& batch);

}  // namespace sdgen
