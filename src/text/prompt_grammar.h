// AUTOMATIC1111's prompt language: weights, prompts that change from step to step, prompts side by side. Pure functions
// on UTF-8 text; no torch here. The rules are those of stable-diffusion-webui 1.10's prompt_parser.py, its oddities
// included, so that a prompt from there gives the picture that it gave there.
//
// All of them take time linear in the text. Error(usage) is what is not UTF-8, and brackets that nest deeper than
// kDeepestBracket.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sdgen {

inline constexpr std::size_t kDeepestBracket = 100;  // 1.1^100 is 13781: no weight that anyone means

// A stretch of a prompt and how much attention it gets.
struct PromptPart {
  std::string text;
  double weight = 1;
  bool operator==(const PromptPart&) const = default;
};
// BREAK, which ends a chunk. Within brackets A1111 weights it like a word, and then takes it for one.
inline bool is_break(const PromptPart& part) { return part.text == "BREAK" && part.weight == -1; }

// (a) times 1.1, [a] divided by 1.1, (a:1.3) times 1.3, all of them nested; \( \) \[ \] \\ stand for themselves; BREAK.
// Brackets that nothing closes reach to the end. Neighbours of one weight are one part; never empty. Throws
// Error(usage) for a weight that is not a number.
std::vector<PromptPart> parse_weights(std::string_view text);

// What a prompt is up to a step.
struct ScheduledPrompt {
  int until;  // the last step, counted from 1, that has this text
  std::string text;
  bool operator==(const ScheduledPrompt&) const = default;
};

// [from:to:when], [to:when] and [from::when] change after step `when`, which is a share of `steps` where it has a
// point; [a|b|...] changes every step. They nest; what fits no rule is text. Ordered; the last `until` is `steps`. A
// prompt with a '|' outside of square brackets, or with a backslash before nothing, is text as a whole.
std::vector<ScheduledPrompt> parse_schedule(std::string_view text, int steps);

// The text at network call `call`, counted from 0. A1111 compares that count with steps from 1: the first text lasts a
// call longer than it says.
const std::string& text_at(const std::vector<ScheduledPrompt>& schedule, int call);

// One of the prompts that AND joins, and its share of the guidance.
struct ComposedPrompt {
  std::string text;
  double weight = 1;
  bool operator==(const ComposedPrompt&) const = default;
};

// "a :1.2 AND b :0.5" (Liu et al., 2022, "Compositional Visual Generation with Composable Diffusion Models"). A prompt
// without AND is composed of itself, and a number after its last colon is its weight. Throws Error(usage)
// where there are more than 1000.
std::vector<ComposedPrompt> parse_composition(std::string_view text);

}  // namespace sdgen
