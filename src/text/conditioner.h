// From prompts to what conditions the backbone.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/backbone.h"
#include "nn/clip_text.h"
#include "text/tokenizer.h"

namespace sdgen {

struct TextConditioner {
  virtual ~TextConditioner() = default;
  // One prompt: context [1, tokens, width] and, where the model has it, pooled [1, width]. clip_skip: how many more of
  // the encoders' last layers to leave out. `warn` is told about a prompt that had to be cut.
  virtual Conditioning encode(const std::string& prompt, int clip_skip,
                              const std::function<void(const std::string&)>& warn) const = 0;
};

// CLIP encoders side by side: their states are concatenated.
class ClipConditioner : public TextConditioner {
 public:
  struct Encoder {
    std::unique_ptr<Tokenizer> tokenizer;
    std::unique_ptr<ClipText> network;
  };
  // penultimate: SDXL's way, the result of the last but one layer as it is, and the last encoder's pooled prompt; else
  // Stable Diffusion 1 and 2's, the last layer's after the final norm. Throws Error(input) when a tokenizer and its
  // encoder do not fit together.
  ClipConditioner(std::vector<Encoder> encoders, bool penultimate, at::Device device);
  Conditioning encode(const std::string& prompt, int clip_skip,
                      const std::function<void(const std::string&)>& warn) const override;

 private:
  std::vector<Encoder> encoders_;
  bool penultimate_;
  at::Device device_;
};

}  // namespace sdgen
