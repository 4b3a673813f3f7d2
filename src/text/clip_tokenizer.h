// CLIP's tokenizer: byte-level BPE over lower-cased words (Radford et al., 2021, arXiv:2103.00020, section 2.4).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "io/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace sdgen {

// Equals transformers' CLIPTokenizer (5.23.0, a pipeline of tokenizers 0.23.3): composition (NFC), white space to one
// space, lower case; then words by a regular expression, their UTF-8 bytes as characters, and BPE with "</w>" at the
// end of each word. Reads `tokenizer_json` if it is there, as transformers does, and else vocab.json and merges.txt.
// Throws Error(input) naming file and line or key.
std::unique_ptr<Tokenizer> load_clip_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                               const Json* tokenizer_json);

// The tokenizer of the checkpoints that carry none: CLIP's own vocabulary of 49408 tokens, compiled in, 77 ids, padded
// with `pad_token` ("<|endoftext|>" for CLIP ViT-L, "!" for OpenCLIP).
std::unique_ptr<Tokenizer> builtin_clip_tokenizer(const std::string& pad_token);

}  // namespace sdgen
