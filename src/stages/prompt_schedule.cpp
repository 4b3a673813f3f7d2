#include "stages/prompt_schedule.h"

#include <set>

#include "sdgen/error.h"

namespace sdgen {

int scheduled_steps(const Scheduler& scheduler, const Request& r) {
  return *r.steps * (scheduler.row->in_pairs() ? 2 : 1);
}

Texts ScheduledTexts::at(int call) const {
  Texts texts;
  for (const auto& schedule : of_encoder) texts.push_back(text_at(schedule, call));
  return texts;
}

PromptSchedule prompt_schedule(const Request& r, int steps) {
  const bool weighted = r.prompt_syntax == PromptSyntax::weighted;
  const auto scheduled = [&](const std::string& text) {
    return weighted ? parse_schedule(text, steps) : std::vector<ScheduledPrompt>{{steps, text}};
  };
  // The first encoder's text, and what the others are told instead.
  const auto texts = [&](const std::string& first, const std::array<TextField, 3>& fields) {
    ScheduledTexts all{{scheduled(first)}};
    for (std::size_t i = 1; i < fields.size(); ++i)
      if (const auto& own = r.*fields[i].text) {
        all.of_encoder.resize(i, all.of_encoder[0]);
        all.of_encoder.push_back(scheduled(*own));
      }
    return all;
  };
  for (const TextField& field : std::span(kPrompts).subspan(1))
    if (const auto& own = r.*field.text; own && weighted && parse_composition(*own).size() > 1)
      throw Error(Fault::usage, concat(FieldName{field.name}, ": AND joins prompts in ", FieldName{"prompt"},
                                       " alone; what stands here goes with each of them"));
  PromptSchedule schedule;
  const std::string prompt = r.prompt.value_or("");
  for (const ComposedPrompt& part : weighted ? parse_composition(prompt) : std::vector{ComposedPrompt{prompt}}) {
    schedule.weights.push_back(part.weight);
    schedule.prompts.push_back(texts(part.text, kPrompts));
  }
  schedule.negative = texts(r.negative_prompt.value_or(""), kNegativePrompts);
  return schedule;
}

namespace {

template <class Work>
void each_text(const ScheduledTexts& texts, const Work& work) {
  for (const auto& encoder : texts.of_encoder)
    for (const ScheduledPrompt& part : encoder) work(part.text);
}

}  // namespace

std::vector<std::string> drawn_texts(const PromptSchedule& schedule, const Request& r) {
  std::vector<std::string> texts;
  for (const ScheduledTexts& prompt : schedule.prompts)
    each_text(prompt, [&](const std::string& written) {
      if (r.prompt_syntax != PromptSyntax::weighted) {
        texts.push_back(written);
        return;
      }
      std::string& text = texts.emplace_back();
      for (const PromptPart& stretch : parse_weights(written)) text += is_break(stretch) ? ", " : stretch.text;
    });
  return texts;
}

void require_readable(const PromptSchedule& schedule) {
  std::set<std::string> texts;
  const auto add = [&](const std::string& text) { texts.insert(text); };
  each_text(schedule.negative, add);
  for (const ScheduledTexts& prompt : schedule.prompts) each_text(prompt, add);
  for (const std::string& text : texts) parse_weights(text);
}

}  // namespace sdgen
