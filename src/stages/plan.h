// A request, understood: all that it comes to with a model.
#pragma once

#include <memory>
#include <vector>

#include "stages/model_run.h"
#include "stages/prompt_schedule.h"

namespace sdgen {

struct Plan::Impl {
  struct Runs {
    Request asked;             // what they were built for: settled, but for what the scheduler says
    std::vector<ModelRun> of;  // each of Models
  };
  Request request;                      // whole: every optional that means something is set
  std::shared_ptr<const Runs> runs;     // plans of a batch may have the same
  std::vector<PromptSchedule> prompts;  // for each of these
  std::vector<Lora> loras = {};         // of the pipeline, then of the request
  std::vector<LoraInfo> lora_infos = {};
  std::vector<std::string> warnings = {};  // of what the request says, and the model makes nothing of

  const ModelRun& run(std::size_t i) const { return runs->of[i]; }
};

// Pipeline::plan(). Throws Error(usage, input).
Plan make_plan(const Models& models, Request request, const Plan* like);

}  // namespace sdgen
