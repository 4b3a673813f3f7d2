#include "stages/step_cache.h"

#include <cmath>

#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr int kMostLayers = 1000;

}  // namespace

void settle_cache(const Models& models, const Request& r) {
  if (!r.cache) return;
  const FieldName field{"cache"};
  const bool deep = r.cache->kind == StepCache::Kind::deep;
  if (!models.base.cache)
    throw Error(Fault::usage, concat(field, ": there is none for the model ", models.name, ", a ", models.base.family));
  if (models.base.cache != r.cache->kind)
    throw Error(Fault::usage,
                concat(field, ": the model ", models.name, " is a ", models.base.family, ", ",
                       deep ? "a transformer, which has no DeepCache; it takes first-block:X, like first-block:0.1"
                            : "a U-Net, which has no first-block cache; it takes deepcache:N, like deepcache:3"));
  if (deep && (r.cache->every < 1 || r.cache->every > kMostSteps))
    throw Error(Fault::usage, concat(field, ": every ", r.cache->every, "th call, expected 1 to ", kMostSteps));
  if (deep && (r.cache->layers < 1 || r.cache->layers > kMostLayers))
    throw Error(Fault::usage, concat(field, ": ", r.cache->layers, " layers, expected 1 to ", kMostLayers));
  if (!deep && !(r.cache->threshold >= 0 && std::isfinite(r.cache->threshold)))
    throw Error(Fault::usage, concat(field, ": the threshold ", r.cache->threshold, ", expected 0 or more"));
  if (models.base.steering.any())
    throw Error(Fault::usage, concat(field, " does not go with ", FieldName{"controlnets"}, " or ",
                                     FieldName{"adapters"}, ", which steer the layers that it spares"));
}

std::shared_ptr<const Backbone> cached(const StepPart& step, const Request& r, std::int64_t pictures) {
  return r.cache ? step.cached(*r.cache, pictures) : step.backbone;
}

}  // namespace sdgen
