// CLIP's text encoder behind the tokenizer that it was trained with.
#pragma once

#include <memory>

#include "model/prompt_encoder.h"
#include "nn/clip_text.h"

namespace sdgen {

// Which of its states a backbone was trained on.
struct ClipStates {
  int left_out = 0;    // so many of the last layers
  bool normed = true;  // after the final norm, or as the layer left them
};

class ClipEncoder final : public PromptEncoder {
 public:
  // Throws Error(input) when the two do not fit together.
  ClipEncoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<ClipText> network, ClipStates states,
              at::Device device);
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  Encoded encode(const std::vector<int>& ids, int skipped_layers) const override;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ClipText> network_;
  ClipStates states_;
  at::Device device_;
};

}  // namespace sdgen
