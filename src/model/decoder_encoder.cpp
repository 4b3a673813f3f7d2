#include "model/decoder_encoder.h"

#include <utility>

#include "sdgen/error.h"

namespace sdgen {

PromptFrame qwen_user_turn(bool thinking) {
  return {"<|im_start|>user\n",
          concat("<|im_end|>\n<|im_start|>assistant\n", thinking ? "" : "<think>\n\n</think>\n\n")};
}

DecoderEncoder::DecoderEncoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<DecoderText> network,
                               DecoderPrompt prompt, at::Device device)
    : tokenizer_(std::move(tokenizer)), network_(std::move(network)), prompt_(std::move(prompt)), device_(device) {
  require_ids(*tokenizer_, network_->config().vocab_size, "the text encoder");
  set_negative(false);
}

void DecoderEncoder::set_negative(bool negative) {
  const PromptFrame& frame = negative && prompt_.negative_frame ? *prompt_.negative_frame : prompt_.frame;
  tokenizer_->set_frame(frame.before, frame.after);
}

Encoded DecoderEncoder::encode(const std::vector<int>& ids, int) const {
  const auto counted = static_cast<std::int64_t>(ids.size());
  std::vector<int> row = ids;
  if (prompt_.padding == DecoderPrompt::Padding::kept)
    row.resize(static_cast<std::size_t>(tokenizer_->max_length()), tokenizer_->pad_id());
  if (counted <= prompt_.left_out)
    throw Error(Fault::input, concat("the tokenizer makes ", counted,
                                     " tokens of a prompt and what the model puts around it, of which ",
                                     prompt_.left_out, " are left out: they belong to different models"));
  return {network_->forward(row_of(row, device_), counted).slice(1, prompt_.left_out), {}, {}};
}

}  // namespace sdgen
