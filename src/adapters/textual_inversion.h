// Textual inversion files (Gal et al., 2022): vectors that stand for a word in prompts.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/components.h"
#include "sdgen/sdgen.h"
#include "text/tokenizer.h"
#include "weights/weights.h"

namespace sdgen {

class TextualInversions {
 public:
  // Those that the model has, and the width of their tokens.
  using Encoders = std::vector<std::pair<const ModelPart*, std::int64_t>>;

  TextualInversions() = default;
  // Reads the files' headers: AUTOMATIC1111's ("emb_params"), diffusers' (one tensor, named like the word), and those
  // for SDXL ("clip_l" and "clip_g"), of which its refiner takes the second. Throws Error(input) for other files and
  // for widths that are not the model's, Error(usage) for an empty word.
  TextualInversions(std::span<const TextualInversion> files, const Encoders& encoders);

  // Those that a LoRA brings along, too, as if each were a file. Throws as the constructor does.
  void add_bundle(const std::filesystem::path& lora, const Encoders& encoders);

  // Makes a tokenizer know the words, in the order of the files. Throws Error(usage) for a word that it knew before,
  // and Error(input) for more vectors than a prompt has room for.
  void teach(Tokenizer& tokenizer) const;
  // The vectors of the words' ids in an encoder, [ids, width] float32 on the CPU; undefined where there are no words.
  at::Tensor vectors(const ModelPart& encoder) const;

  bool empty() const { return words_.empty(); }
  // Of the files, without what LoRAs brought.
  const std::vector<TextualInversionInfo>& infos() const { return infos_; }

 private:
  struct Source {
    std::shared_ptr<const TensorTable> table;
    std::string tensor;
  };
  struct Word {
    std::filesystem::path path;
    std::string word;
    int vectors;
    bool bundled;
  };
  int add_sources(const std::shared_ptr<const TensorTable>& table, const std::vector<std::string>& tensors,
                  const Encoders& encoders);

  std::vector<Word> words_;
  std::map<const ModelPart*, std::vector<Source>> sources_;  // by encoder
  std::vector<TextualInversionInfo> infos_;
};

}  // namespace sdgen
