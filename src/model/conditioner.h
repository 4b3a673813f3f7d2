// From prompts to what conditions the backbone.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/prompt_encoder.h"
#include "nn/backbone.h"
#include "sdgen/sdgen.h"

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

// How a family puts together what its encoders make of a prompt, in their order: one way for each, in its file of
// families/.
using Join = std::function<Conditioning(std::span<const Encoded> prompt)>;

// The conditioner of all families: what A1111's language makes of a prompt (chunks, weights) is the encoders' input and
// output.
class PromptConditioner final : public TextConditioner {
 public:
  PromptConditioner(std::vector<std::unique_ptr<PromptEncoder>> encoders, Join join)
      : encoders_(std::move(encoders)), join_(std::move(join)) {}
  Conditioning encode(const std::string& prompt, PromptSyntax syntax, int clip_skip,
                      const std::function<void(const std::string&)>& warn) const override;
  std::size_t chunks(const std::string& prompt) const override;

 private:
  std::vector<std::unique_ptr<PromptEncoder>> encoders_;
  Join join_;
};

}  // namespace sdgen
