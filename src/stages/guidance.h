// Classifier-free guidance, as a request asks for it.
#pragma once

#include <optional>

#include "diffusion/denoiser.h"
#include "stages/models.h"
#include "stages/prompt_schedule.h"

namespace sdgen {

// Is the network asked with and without the prompt?
bool guided(const Parts& parts, const Request& request);

// Checks and fills what a request says of it. Throws Error(usage).
void settle_guidance(const Models& models, Request& request);

// Throws Error(usage) where prompts that AND joins have no guidance that they could share.
void require_shares(const Parts& parts, const Request& request, const PromptSchedule& prompts);

// Of a whole request; nothing: there is none.
std::optional<Guidance> guidance_of(const Parts& parts, const Request& request, const PromptSchedule& prompts);

}  // namespace sdgen
