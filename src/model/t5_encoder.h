// T5's encoder behind its tokenizer.
#pragma once

#include <memory>

#include "model/prompt_encoder.h"
#include "nn/t5.h"

namespace sdgen {

class T5Encoder final : public PromptEncoder {
 public:
  // What stands behind a prompt in the row of ids.
  enum class Padding {
    counts,  // it is encoded, and attended to, as any token
    masked,  // states are zeros, and the mask is false
    looks,   // it looks at the prompt, and is looked at by nothing; the mask is true of the first token of it
  };
  // Throws Error(input) when tokenizer and network do not fit together.
  T5Encoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<T5> network, Padding padding, at::Device device);
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  void set_max_sequence_length(int tokens) override { tokenizer_->set_max_length(tokens); }
  // No layers are skipped: none of diffusers' pipelines does.
  Encoded encode(const std::vector<int>& ids, int skipped_layers) const override;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<T5> network_;
  Padding padding_;
  at::Device device_;
};

}  // namespace sdgen
