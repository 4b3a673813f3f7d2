#include "stages/script.h"

#include <set>

namespace sdgen {

int scheduled_steps(const Scheduler& scheduler, const Request& r) {
  return *r.steps * (scheduler.row->in_pairs() ? 2 : 1);
}

Script script_of(const Request& r, int steps) {
  const std::string prompt = r.prompt.value_or(""), negative = r.negative_prompt.value_or("");
  if (r.prompt_syntax != PromptSyntax::weighted) return {{1}, {{{steps, prompt}}}, {{steps, negative}}};
  Script script;
  for (const ComposedPrompt& part : parse_composition(prompt)) {
    script.weights.push_back(part.weight);
    script.prompts.push_back(parse_schedule(part.text, steps));
  }
  script.negative = parse_schedule(negative, steps);
  return script;
}

void require_readable(const Request& r, int steps) {
  if (r.prompt_syntax != PromptSyntax::weighted) return;
  const Script script = script_of(r, steps);
  std::set<std::string> texts;
  for (const ScheduledPrompt& part : script.negative) texts.insert(part.text);
  for (const auto& prompt : script.prompts)
    for (const ScheduledPrompt& part : prompt) texts.insert(part.text);
  for (const std::string& text : texts) parse_weights(text);
}

}  // namespace sdgen
