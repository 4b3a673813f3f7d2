// A decoder language model behind its tokenizer, and what a family tells it and takes of its states.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/prompt_encoder.h"
#include "nn/decoder_text.h"

namespace sdgen {

// What stands around a prompt: the turns of a chat, as the tokenizer's template writes them.
struct PromptFrame {
  std::string before = {}, after = {};
};

// Qwen's template with one message of the user, and the beginning of the answer: after which it thinks, or which says
// that it does not (enable_thinking).
PromptFrame qwen_user_turn(bool thinking);

// What a family's pipeline does with its language model: a value in the family's file.
struct DecoderPrompt {
  PromptFrame frame = {};
  std::optional<PromptFrame> negative_frame = {};  // of negative prompts, where it is another one
  std::vector<std::int64_t> states = {};           // hidden states, side by side (DecoderTextConfig::giving)
  // What stands behind a prompt of fewer tokens than max_sequence_length.
  enum class Padding {
    kept,  // padding, which sees the prompt: states are of max_sequence_length tokens, and all count
    none,  // nothing: there are as many states as tokens, and prompts of a batch differ (TextPart::any_length)
  };
  Padding padding = Padding::none;
  // Tokens at the beginning, of the frame, whose states are left out. They come on top of max_sequence_length.
  int left_out = 0;
};

class DecoderEncoder final : public PromptEncoder {
 public:
  // Throws Error(input) when tokenizer and network do not fit together.
  DecoderEncoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<DecoderText> network, DecoderPrompt prompt,
                 at::Device device);
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  void set_max_sequence_length(int tokens) override { tokenizer_->set_max_length(tokens + prompt_.left_out); }
  void set_negative(bool negative) override;
  // states [1, tokens, width * prompt.states]; no mask and no summary. No layers are skipped: which ones count is the
  // family's choice.
  Encoded encode(const std::vector<int>& ids, int skipped_layers) const override;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<DecoderText> network_;
  DecoderPrompt prompt_;
  at::Device device_;
};

}  // namespace sdgen
