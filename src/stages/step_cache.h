// Network calls that use again what earlier ones said, as a request asks for it.
#pragma once

#include "families/family.h"
#include "stages/models.h"

namespace sdgen {

// Throws Error(usage) where the model has no such cache, or the request something that it does not go with.
void settle_cache(const Models& models, const Request& request);

// The network that a run of so many pictures asks: `step`'s own, or, where the request has a cache, one that remembers.
std::shared_ptr<const Backbone> cached(const StepPart& step, const Request& request, std::int64_t pictures);

}  // namespace sdgen
