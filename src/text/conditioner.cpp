#include "text/conditioner.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "sdgen/error.h"

namespace sdgen {

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

Conditioning ClipConditioner::encode(const std::string& prompt, int clip_skip,
                                     const std::function<void(const std::string&)>& warn) const {
  std::vector<at::Tensor> states;
  at::Tensor pooled;
  for (const auto& [tokenizer, network] : encoders_) {
    const TokenizedPrompt tokens = tokenize(*tokenizer, prompt);
    if (tokens.cut > 0 && states.empty())
      warn(concat("a prompt is ", tokens.cut, " tokens too long for the model's ", tokens.ids.size(),
                  " and was cut: \"", prompt.substr(0, 40), prompt.size() > 40 ? "...\"" : "\""));
    at::Tensor ids = at::empty({1, std::int64_t(tokens.ids.size())}, at::kLong);
    std::copy(tokens.ids.begin(), tokens.ids.end(), ids.data_ptr<std::int64_t>());
    const ClipText::Output output = network->forward(ids.to(device_));
    const at::Tensor state = output.hidden.at(output.hidden.size() - 1 - clip_skip - (penultimate_ ? 1 : 0));
    states.push_back(penultimate_ ? state : network->normed(state));
    pooled = output.pooled;
  }
  return {.context = states.size() == 1 ? states[0] : at::cat(states, -1),
          .pooled = penultimate_ ? pooled : at::Tensor(),
          .size_ids = {},
          .guidance_embed = {}};
}

}  // namespace sdgen
