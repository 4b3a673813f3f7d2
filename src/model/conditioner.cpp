#include "model/conditioner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/prompt_chunks.h"

namespace sdgen {
namespace {

// The one chunk of a plain prompt.
PromptChunk plain_chunk(const Tokenizer& tokenizer, const std::string& prompt,
                        const std::function<void(const std::string&)>& warn) {
  TokenizedPrompt tokens = tokenize(tokenizer, prompt);
  if (tokens.cut > 0) {
    const CutWords cut = cut_words(tokenizer, prompt);
    const std::string words = cut.count == 1 ? " word is" : concat(' ', cut.count, " words are");
    warn(concat("a prompt is ", tokens.cut, tokens.cut == 1 ? " token" : " tokens", " too long for the model's ",
                tokens.ids.size(),
                cut.count == 0 ? "" : concat("; its last", words, " cut, from \"", printable(cut.first, 60), "\" on"),
                " (weighted prompts may be of any length)"));
  }
  const std::size_t length = tokens.ids.size();
  return {std::move(tokens.ids), std::vector<float>(length, 1)};
}

// A1111's emphasis: every token's state times its weight, and then all by what gives the chunk its mean back.
at::Tensor weighted(const at::Tensor& states, const std::vector<float>& weights) {
  if (std::all_of(weights.begin(), weights.end(), [](float w) { return w == 1; })) return states;
  const at::Tensor exact = states.to(at::kFloat);
  const at::Tensor scaled = exact * at::tensor(weights).to(states.device()).unsqueeze(-1);
  return (scaled * (exact.mean() / scaled.mean())).to(states.scalar_type());
}

// Chunks side by side; the first one's summary.
Encoded encoded(const PromptEncoder& encoder, const std::vector<PromptChunk>& chunks, int skipped_layers) {
  Encoded all;
  std::vector<at::Tensor> states, masks;
  for (const PromptChunk& chunk : chunks) {
    Encoded one = encoder.encode(chunk.ids, skipped_layers);
    if (states.empty()) all.pooled = one.pooled;
    states.push_back(weighted(one.states, chunk.weights));
    if (one.mask.defined()) masks.push_back(one.mask);
  }
  all.states = at::cat(states, 1);
  if (!masks.empty()) all.mask = at::cat(masks, 1);
  return all;
}

}  // namespace

Conditioning PromptConditioner::encode(const std::string& prompt, PromptSyntax syntax, int clip_skip,
                                       const std::function<void(const std::string&)>& warn) const {
  const std::size_t count = syntax == PromptSyntax::weighted ? chunks(prompt) : 1;
  std::vector<Encoded> prompts;
  for (const auto& encoder : encoders_) {
    const Tokenizer& tokenizer = encoder->tokenizer();
    std::vector<PromptChunk> list;
    if (syntax == PromptSyntax::weighted) {
      list = weighted_chunks(tokenizer, prompt);
      list.resize(count, weighted_chunks(tokenizer, "").front());
    } else {
      list.push_back(plain_chunk(
          tokenizer, prompt, prompts.empty() ? warn : [](const std::string&) {}));
    }
    prompts.push_back(encoded(*encoder, list, clip_skip));
  }
  return join_(prompts);
}

std::size_t PromptConditioner::chunks(const std::string& prompt) const {
  std::size_t count = 0;
  for (const auto& encoder : encoders_) count = std::max(count, weighted_chunks(encoder->tokenizer(), prompt).size());
  return count;
}

}  // namespace sdgen
