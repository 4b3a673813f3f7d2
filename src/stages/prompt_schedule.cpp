#include "stages/prompt_schedule.h"

#include <set>

namespace sdgen {

int scheduled_steps(const Scheduler& scheduler, const Request& r) {
  return *r.steps * (scheduler.row->in_pairs() ? 2 : 1);
}

PromptSchedule prompt_schedule(const Request& r, int steps) {
  const std::string prompt = r.prompt.value_or(""), negative = r.negative_prompt.value_or("");
  if (r.prompt_syntax != PromptSyntax::weighted) return {{1}, {{{steps, prompt}}}, {{steps, negative}}};
  PromptSchedule schedule;
  for (const ComposedPrompt& part : parse_composition(prompt)) {
    schedule.weights.push_back(part.weight);
    schedule.prompts.push_back(parse_schedule(part.text, steps));
  }
  schedule.negative = parse_schedule(negative, steps);
  return schedule;
}

std::vector<std::string> drawn_texts(const PromptSchedule& schedule, const Request& r) {
  std::vector<std::string> texts;
  for (const auto& prompt : schedule.prompts)
    for (const ScheduledPrompt& part : prompt) {
      if (r.prompt_syntax != PromptSyntax::weighted) {
        texts.push_back(part.text);
        continue;
      }
      std::string& text = texts.emplace_back();
      for (const PromptPart& stretch : parse_weights(part.text)) text += is_break(stretch) ? ", " : stretch.text;
    }
  return texts;
}

void require_readable(const PromptSchedule& schedule) {
  std::set<std::string> texts;
  for (const ScheduledPrompt& part : schedule.negative) texts.insert(part.text);
  for (const auto& prompt : schedule.prompts)
    for (const ScheduledPrompt& part : prompt) texts.insert(part.text);
  for (const std::string& text : texts) parse_weights(text);
}

}  // namespace sdgen
