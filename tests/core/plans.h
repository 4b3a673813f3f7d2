// Plans without a pipeline.
#pragma once

#include <memory>

#include "stages/plan.h"

namespace sdgen::test {

// Of a request that is whole, but for what a scheduler says.
inline Plan plan_as_it_is(const Parts& parts, const Request& request) {
  std::vector<ModelRun> runs;
  runs.emplace_back(parts, request, /*refining=*/false);
  const PromptSchedule prompts = prompt_schedule(request, scheduled_steps(runs[0].scheduler, request));
  const auto shared = std::make_shared<const Plan::Impl::Runs>(Plan::Impl::Runs{request, std::move(runs)});
  return Plan(std::make_shared<const Plan::Impl>(Plan::Impl{request, shared, {prompts}}));
}

}  // namespace sdgen::test
