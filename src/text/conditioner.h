// From prompts to what conditions the backbone.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "nn/backbone.h"
#include "nn/clip_text.h"
#include "text/tokenizer.h"

namespace sdgen {

struct TextConditioner {
  virtual ~TextConditioner() = default;
  // One row a prompt. `warn` is told about prompts that had to be cut.
  virtual Conditioning encode(std::span<const std::string> prompts,
                              const std::function<void(const std::string&)>& warn) const = 0;
};

// Stable Diffusion 1 and 2: one CLIP encoder's last state, after its final norm.
class ClipConditioner : public TextConditioner {
 public:
  // Throws Error(input) when tokenizer and encoder do not fit together.
  ClipConditioner(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<ClipText> encoder, at::Device device);
  Conditioning encode(std::span<const std::string> prompts,
                      const std::function<void(const std::string&)>& warn) const override;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ClipText> encoder_;
  at::Device device_;
};

}  // namespace sdgen
