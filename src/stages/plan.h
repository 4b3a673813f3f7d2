// A request, understood: all that it comes to with a model.
#pragma once

#include <memory>
#include <vector>

#include "stages/model_run.h"
#include "stages/prompt_schedule.h"

namespace sdgen {

struct Plan::Impl {
  Request request;                                    // whole: every optional that means something is set
  std::shared_ptr<const std::vector<ModelRun>> runs;  // of each of Models; those of a batch have the same
  std::vector<PromptSchedule> prompts;                // for each of these

  const ModelRun& run(std::size_t i) const { return (*runs)[i]; }
};

// Pipeline::plan(). Throws Error(usage, input).
Plan make_plan(const Models& models, Request request, const Plan* like);

}  // namespace sdgen
