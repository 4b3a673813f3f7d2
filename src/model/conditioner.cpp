#include "model/conditioner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <set>

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
                tokenizer.max_length(),
                cut.count == 0 ? "" : concat("; its last", words, " cut, from \"", printable(cut.first, 60), "\" on"),
                tokenizer.pads() ? " (weighted prompts may be of any length)" : ""));
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

template <class Work>
void PromptConditioner::each(const Texts& texts, int max_sequence_length, bool negative, const Work& work) {
  for (std::size_t i = 0; i < encoders_.size(); ++i) {
    encoders_[i]->set_max_sequence_length(max_sequence_length);
    encoders_[i]->set_negative(negative);
    work(*encoders_[i], i < texts.size() ? texts[i] : texts[0]);
  }
}

Conditioning PromptConditioner::encode(const Texts& texts, const TextSettings& settings,
                                       const std::function<void(const std::string&)>& warn) {
  const bool weighted = settings.syntax == PromptSyntax::weighted;
  const std::size_t count = weighted ? chunks(texts, settings.max_sequence_length) : 1;
  std::vector<Encoded> prompts;
  std::set<std::string> told;  // of each text one encoder says what is cut
  const auto read = [&](const PromptEncoder& encoder, const std::string& text) {
    const Tokenizer& tokenizer = encoder.tokenizer();
    std::vector<PromptChunk> list;
    if (weighted) {
      list = weighted_chunks(tokenizer, text);
      list.resize(count, weighted_chunks(tokenizer, "").front());
    } else {
      list.push_back(plain_chunk(
          tokenizer, text, told.insert(text).second ? warn : [](const std::string&) {}));
    }
    prompts.push_back(encoded(encoder, list, settings.clip_skip));
  };
  each(texts, settings.max_sequence_length, settings.negative, read);
  return join_(prompts, settings);
}

std::size_t PromptConditioner::chunks(const Texts& texts, int max_sequence_length) {
  std::size_t count = 0;
  each(texts, max_sequence_length, /*negative=*/false, [&](const PromptEncoder& encoder, const std::string& text) {
    count = std::max(count, weighted_chunks(encoder.tokenizer(), text).size());
  });
  return count;
}

}  // namespace sdgen
