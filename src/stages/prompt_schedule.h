// What a picture's prompts say from one network call to the next.
#pragma once

#include <string>
#include <vector>

#include "diffusion/schedulers.h"
#include "model/conditioner.h"
#include "sdgen/sdgen.h"
#include "text/prompt_grammar.h"

namespace sdgen {

// A prompt: of each encoder that is told something of its own.
struct ScheduledTexts {
  std::vector<std::vector<ScheduledPrompt>> of_encoder;

  Texts at(int call) const;
  bool operator==(const ScheduledTexts&) const = default;
};

struct PromptSchedule {
  std::vector<double> weights;          // of the prompts that AND joins: shares of the guidance
  std::vector<ScheduledTexts> prompts;  // the same ones
  ScheduledTexts negative;

  bool operator==(const PromptSchedule&) const = default;
};

// The steps that a prompt's numbers mean: as A1111 counts them, those asked for, doubled where a step takes two calls,
// whether or not image to image or a refiner leaves some of them out.
int scheduled_steps(const Scheduler& scheduler, const Request& request);

// Of a whole request. A plain prompt says one thing throughout. What further encoders are told goes with each of the
// prompts that AND joins. Throws Error(usage) for brackets too deep, and for AND where it means nothing.
PromptSchedule prompt_schedule(const Request& request, int steps);

// All that the prompts say in the course of a picture: without weights, and ", " for BREAK.
std::vector<std::string> drawn_texts(const PromptSchedule& schedule, const Request& request);

// Throws Error(usage) for what cannot be read of weighted prompts.
void require_readable(const PromptSchedule& schedule);

}  // namespace sdgen
