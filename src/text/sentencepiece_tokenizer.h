// The tokenizer of SentencePiece's unigram models, as transformers 5 runs it.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "io/json.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace sdgen {

constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581, which stands for a space

// transformers 5 runs SentencePiece models without the SentencePiece library, and so does sdgen, because the two
// differ:
//   - sums in float64 where the library has float32, which decides ties otherwise (unigram.h);
//   - normalization by clusters (charsmap.h);
//   - special tokens that are spelled out in the text are recognised;
//   - T5Tokenizer cuts at all white space whatever the model's normalizer says, ignores byte_fallback, and always takes
//     piece 2 for unknown characters.
// The model is read as data (sentencepiece_model.h): known ways to crash the library by a hostile file (its issues 1263
// and 1269) do not exist here.

// T5Tokenizer: the words of the normalized text, "▁" before each, segmented by a unigram model; the end id last.
// `tokenizer_json` or, where it is null, the model file (spiece.model) and `extra_ids` tokens <extra_id_N> after it.
std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                             const Json* tokenizer_json, const std::filesystem::path& model_file);

}  // namespace sdgen
