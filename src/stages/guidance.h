// Classifier-free guidance, as a request asks for it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/denoiser.h"
#include "model/per_call.h"
#include "stages/batch.h"
#include "stages/models.h"
#include "stages/prompt_schedule.h"

namespace sdgen {

// Is the network asked with and without the prompt?
bool guided(const Parts& parts, const Request& request);

// Checks and fills what a request says of it, and adds to `warnings` what of it changes nothing. Throws Error(usage).
void settle_guidance(const Models& models, Request& request, std::vector<std::string>& warnings);

// Throws Error(usage) where prompts that AND joins have no guidance that they could share, or at some steps alone.
void require_shares(const Parts& parts, const Request& request, const PromptSchedule& prompts);

// Of a whole request; nothing: there is none.
std::optional<Guidance> guidance_of(const Parts& parts, const Request& request, const PromptSchedule& prompts);

// Is call `call` of a run, from 0, in the part of the schedule in which a request is guided?
bool guides(const Request& request, const ModelRun& run, std::size_t call);

// Throws Error(usage) where a request's guidance would act in none of the runs' calls.
void require_guidance_acts(const Request& request, const std::vector<ModelRun>& runs);

// Throws Error(usage) where a request's skip-layer guidance would act in none of the run's calls.
void require_skipped_layers_act(const Request& request, const ModelRun& run);

// The network at each call, with skip-layer guidance where the request has it: v + scale * (c - what the network says
// to the prompt without those layers) of diffusers' StableDiffusion3Pipeline, v the guided answer and c the prompted
// one.
PerCall<std::shared_ptr<const Backbone>> skip_layers(PerCall<std::shared_ptr<const Backbone>> backbones,
                                                     const StepPart& step, const ModelRun& run, const Batch& batch);

}  // namespace sdgen
