// Prompts of any length as a text encoder takes them: in pieces.
#pragma once

#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace sdgen {

// What a text encoder is asked at once: exactly Tokenizer::max_length() ids, and how much the state of each is to
// count.
struct PromptChunk {
  std::vector<int> ids;
  std::vector<float> weights;
};

// The chunks of a prompt in AUTOMATIC1111's syntax (prompt_grammar.h), by the rules of stable-diffusion-webui 1.10's
// sd_hijack_clip.py: words that do not fit go on in another chunk; where the last comma is at most 20 ids back, from
// after it. BREAK begins a new chunk. Begin, end and padding count once. Never empty. Throws Error(usage) as
// parse_weights() does, and for more than 4096 chunks.
std::vector<PromptChunk> weighted_chunks(const Tokenizer& tokenizer, std::string_view prompt);

}  // namespace sdgen
