// A text encoder as whatever conditions a backbone sees it: a tokenizer and a network.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace sdgen {

// What an encoder makes of a prompt.
struct Encoded {
  at::Tensor states;  // [1, tokens, width]
  at::Tensor pooled;  // [1, width]: its summary of the prompt; undefined where it has none
  at::Tensor mask;    // [1, tokens] bool, where a token counts; undefined: all do
};

struct PromptEncoder {
  virtual ~PromptEncoder() = default;
  virtual const Tokenizer& tokenizer() const = 0;
  // How many tokens it takes at once from now on, where a request may say that.
  virtual void set_max_sequence_length(int /*tokens*/) {}
  // Whether it reads negative prompts from now on: some families put another frame around them.
  virtual void set_negative(bool /*negative*/) {}
  // `ids`: what tokenize() gives. skipped_layers: how many of its last layers to leave out besides those
  // that the model itself does.
  virtual Encoded encode(const std::vector<int>& ids, int skipped_layers) const = 0;
};

// What the encoders do alike. Throws Error(input) unless `network` ("the text encoder") knows all of a tokenizer's ids.
void require_ids(const Tokenizer& tokenizer, std::int64_t known, const char* network);
// int64 [1, ids]
at::Tensor row_of(const std::vector<int>& ids, at::Device device);

}  // namespace sdgen
