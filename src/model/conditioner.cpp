#include "model/conditioner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// The one chunk of a plain prompt.
PromptChunk plain_chunk(const Tokenizer& tokenizer, const std::string& prompt,
                        const std::function<void(const std::string&)>& warn) {
  TokenizedPrompt tokens = tokenize(tokenizer, prompt);
  if (!tokens.cut.empty())
    warn(concat("a prompt is ", tokens.cut.size(), " tokens too long for the model's ", tokens.ids.size(),
                "; these words are cut: \"", printable(tokenizer.decode(tokens.cut), 4000),
                "\" (weighted prompts may be of any length)"));
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

}  // namespace

ClipConditioner::ClipConditioner(std::vector<Encoder> encoders, bool penultimate, at::Device device)
    : encoders_(std::move(encoders)), penultimate_(penultimate), device_(device) {
  for (const auto& [tokenizer, network] : encoders_) {
    const ClipTextConfig& c = network->config();
    if (tokenizer->vocabulary_size() > c.vocab_size)
      throw Error(Fault::input,
                  concat("the tokenizer has ", tokenizer->vocabulary_size(), " ids, the text encoder knows ",
                         c.vocab_size, ": they belong to different models"));
    if (tokenizer->max_length() > c.max_positions)
      throw Error(Fault::input,
                  concat("the tokenizer's model_max_length is ", tokenizer->max_length(), ", the text encoder has ",
                         c.max_positions, " positions: they belong to different models"));
  }
}

ClipConditioner::State ClipConditioner::run(const ClipText& network, const PromptChunk& chunk, int clip_skip) const {
  const at::Tensor ids = at::tensor(chunk.ids, at::kLong).unsqueeze(0);
  const ClipText::Output output = network.forward(ids.to(device_));
  const at::Tensor state = output.hidden.at(output.hidden.size() - 1 - clip_skip - (penultimate_ ? 1 : 0));
  return {weighted(penultimate_ ? state : network.normed(state), chunk.weights), output.pooled};
}

Conditioning ClipConditioner::encode(const std::string& prompt, PromptSyntax syntax, int clip_skip,
                                     const std::function<void(const std::string&)>& warn) const {
  const bool weighted = syntax == PromptSyntax::weighted;
  const std::size_t count = weighted ? chunks(prompt) : 1;
  std::vector<at::Tensor> states;
  at::Tensor pooled;
  for (const auto& [tokenizer, network] : encoders_) {
    std::vector<PromptChunk> list;
    if (weighted) {
      list = weighted_chunks(*tokenizer, prompt);
      list.resize(count, weighted_chunks(*tokenizer, "").front());
    } else {
      list.push_back(plain_chunk(
          *tokenizer, prompt, states.empty() ? warn : [](const std::string&) {}));
    }
    std::vector<at::Tensor> parts;
    for (const PromptChunk& chunk : list) {
      State state = run(*network, chunk, clip_skip);
      if (parts.empty()) pooled = state.pooled;
      parts.push_back(std::move(state.hidden));
    }
    states.push_back(at::cat(parts, 1));
  }
  return {.context = states.size() == 1 ? states[0] : at::cat(states, -1),
          .pooled = penultimate_ ? pooled : at::Tensor()};
}

std::size_t ClipConditioner::chunks(const std::string& prompt) const {
  std::size_t count = 0;
  for (const auto& [tokenizer, network] : encoders_)
    count = std::max(count, weighted_chunks(*tokenizer, prompt).size());
  return count;
}

}  // namespace sdgen
