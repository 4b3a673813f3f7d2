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

// A prompt: what each of a model's encoders is told. Those beyond the end are told what the first one is; never empty.
using Texts = std::vector<std::string>;

// How it is read.
struct TextSettings {
  PromptSyntax syntax = PromptSyntax::plain;
  int clip_skip = 0;            // how many more of CLIPs' last layers to leave out
  int max_sequence_length = 0;  // tokens that T5, or a language model, is told at once
  bool negative = false;        // where negative prompts are read in another way
  auto operator<=>(const TextSettings&) const = default;
};

struct TextConditioner {
  virtual ~TextConditioner() = default;
  // One prompt: context [1, tokens, width] and, where the model has it, pooled [1, width]. Plain: cut to one chunk, and
  // `warn` gets the words that are lost. Weighted: as many chunks as the longest of the texts takes, side by side; the
  // first one's pooled. Throws Error(usage) as parse_weights() does.
  virtual Conditioning encode(const Texts& texts, const TextSettings& settings,
                              const std::function<void(const std::string&)>& warn) = 0;
  // How many chunks a weighted prompt takes.
  virtual std::size_t chunks(const Texts& texts, int max_sequence_length) = 0;
};

// How a family puts together what its encoders make of a prompt, in their order: one way for each, in its file of
// families/.
using Join = std::function<Conditioning(std::span<const Encoded> prompt, const TextSettings& settings)>;

// The conditioner of all families: what A1111's language makes of a prompt (chunks, weights) is the encoders' input and
// output.
class PromptConditioner final : public TextConditioner {
 public:
  PromptConditioner(std::vector<std::unique_ptr<PromptEncoder>> encoders, Join join)
      : encoders_(std::move(encoders)), join_(std::move(join)) {}
  Conditioning encode(const Texts& texts, const TextSettings& settings,
                      const std::function<void(const std::string&)>& warn) override;
  std::size_t chunks(const Texts& texts, int max_sequence_length) override;

 private:
  // Calls work(encoder, text) for each encoder.
  template <class Work>
  void each(const Texts& texts, int max_sequence_length, bool negative, const Work& work);

  std::vector<std::unique_ptr<PromptEncoder>> encoders_;
  Join join_;
};

}  // namespace sdgen
