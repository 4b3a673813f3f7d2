// From prompts to what conditions the backbone.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/backbone.h"
#include "nn/clip_text.h"
#include "sdgen/sdgen.h"
#include "text/prompt_chunks.h"
#include "text/tokenizer.h"

namespace sdgen {

struct TextConditioner {
  virtual ~TextConditioner() = default;
  // One prompt: context [1, tokens, width] and, where the model has it, pooled [1, width]. clip_skip: how many more of
  // the encoders' last layers to leave out. Plain: cut to one chunk, and `warn` gets the words that are lost.
  // Weighted: as many chunks as it takes, side by side; the first one's pooled. Throws Error(usage) as parse_weights()
  // does.
  virtual Conditioning encode(const std::string& prompt, PromptSyntax syntax, int clip_skip,
                              const std::function<void(const std::string&)>& warn) const = 0;
  // How many chunks a weighted prompt takes.
  virtual std::size_t chunks(const std::string& prompt) const = 0;
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
  Conditioning encode(const std::string& prompt, PromptSyntax syntax, int clip_skip,
                      const std::function<void(const std::string&)>& warn) const override;
  std::size_t chunks(const std::string& prompt) const override;

 private:
  struct State {
    at::Tensor hidden;  // [1, tokens, width], weighted
    at::Tensor pooled;  // [1, width]
  };
  State run(const ClipText& network, const PromptChunk& chunk, int clip_skip) const;

  std::vector<Encoder> encoders_;
  bool penultimate_;
  at::Device device_;
};

}  // namespace sdgen
