// What help says of the schedulers: without torch, so that help does not wait for it.
#include "sdgen/sdgen.h"

namespace sdgen {

std::vector<SchedulerInfo> scheduler_infos() {
#define SCHEDULER(name, diffusers_class, options, grid, sampler, knows, summary) {name, diffusers_class, summary},
  return {
#include "schedulers/rows.inc"
  };
#undef SCHEDULER
}

}  // namespace sdgen
