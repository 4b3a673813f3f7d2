// Tokenizers of language models that split a text into words and encode their bytes (Radford et al., 2019, "Language
// Models are Unsupervised Multitask Learners"): Qwen's.
#pragma once

#include <filesystem>
#include <memory>

#include "text/bpe_files.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace sdgen {

// Equals transformers' Qwen2Tokenizer (5.23.0): composition (NFC), words by a regular expression, their UTF-8 bytes as
// characters, and BPE; no begin and no end. `who` names the tables in errors. Throws Error(input).
std::unique_ptr<Tokenizer> qwen2_tokenizer(BpeTables tables, TokenizerConfig config, const std::string& who);

// The same from a folder: `tokenizer_json` if it is there, else vocab.json and merges.txt.
std::unique_ptr<Tokenizer> load_qwen2_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                                const Json* tokenizer_json);

}  // namespace sdgen
