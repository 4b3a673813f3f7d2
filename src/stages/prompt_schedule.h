// What a picture's prompts say from one network call to the next.
#pragma once

#include <string>
#include <vector>

#include "diffusion/schedulers.h"
#include "sdgen/sdgen.h"
#include "text/prompt_grammar.h"

namespace sdgen {

struct PromptSchedule {
  std::vector<double> weights;                        // of the prompts that AND joins: shares of the guidance
  std::vector<std::vector<ScheduledPrompt>> prompts;  // the same ones
  std::vector<ScheduledPrompt> negative;

  // Calls work(text) for all texts at network call `call`, the negative prompt's first.
  template <class Work>
  void at(int call, const Work& work) const {
    work(text_at(negative, call));
    for (const auto& prompt : prompts) work(text_at(prompt, call));
  }
};

// The steps that a prompt's numbers mean: as A1111 counts them, those asked for, doubled where a step takes two calls,
// whether or not image to image or a refiner leaves some of them out.
int scheduled_steps(const Scheduler& scheduler, const Request& request);

// Of a whole request. A plain prompt says one thing throughout. Throws Error(usage) for brackets too deep.
PromptSchedule prompt_schedule(const Request& request, int steps);

// All that the prompt says in the course of a picture: without weights, and ", " for BREAK.
std::vector<std::string> drawn_texts(const PromptSchedule& schedule, const Request& request);

// Throws Error(usage) for what cannot be read of weighted prompts.
void require_readable(const PromptSchedule& schedule);

}  // namespace sdgen
