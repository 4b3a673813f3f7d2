#include "text/conditioner.h"

#include <ATen/ops/empty.h>

#include "sdgen/error.h"

namespace sdgen {

ClipConditioner::ClipConditioner(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<ClipText> encoder,
                                 at::Device device)
    : tokenizer_(std::move(tokenizer)), encoder_(std::move(encoder)), device_(device) {
  const ClipTextConfig& c = encoder_->config();
  if (tokenizer_->vocabulary_size() > c.vocab_size)
    throw Error(Fault::input,
                concat("the tokenizer has ", tokenizer_->vocabulary_size(), " ids, the text encoder knows ",
                       c.vocab_size, ": they belong to different models"));
  if (tokenizer_->max_length() > c.max_positions)
    throw Error(Fault::input,
                concat("the tokenizer's model_max_length is ", tokenizer_->max_length(), ", the text encoder has ",
                       c.max_positions, " positions: they belong to different models"));
}

Conditioning ClipConditioner::encode(std::span<const std::string> prompts,
                                     const std::function<void(const std::string&)>& warn) const {
  const std::int64_t rows = prompts.size(), length = tokenizer_->max_length();
  at::Tensor ids = at::empty({rows, length}, at::kLong);
  for (std::int64_t i = 0; i < rows; ++i) {
    const TokenizedPrompt tokens = tokenize(*tokenizer_, prompts[i]);
    if (tokens.cut > 0)
      warn(concat("a prompt is ", tokens.cut, " tokens too long for the model's ", length, " and was cut: \"",
                  prompts[i].substr(0, 40), prompts[i].size() > 40 ? "...\"" : "\""));
    std::copy(tokens.ids.begin(), tokens.ids.end(), ids.data_ptr<std::int64_t>() + i * length);
  }
  const ClipText::Output output = encoder_->forward(ids.to(device_));
  return {.context = output.last, .pooled = {}, .size_ids = {}, .guidance_embed = {}};
}

}  // namespace sdgen
