// Gemma's tokenizer: BPE over whole texts, whose unknown characters are their bytes (Gemma Team, 2024).
#pragma once

#include <filesystem>
#include <memory>

#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace sdgen {

// Equals transformers' GemmaTokenizer (5.23.0): blanks become U+2581, and the rest is BPE. It begins with bos_token
// where the post-processor of tokenizer.json says so, whatever add_bos_token says. Throws Error(input).
std::unique_ptr<Tokenizer> load_gemma_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                                const Json& tokenizer_json);

}  // namespace sdgen
