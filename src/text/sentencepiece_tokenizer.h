// The tokenizer of SentencePiece's unigram models, which the sentencepiece library runs.
#pragma once

#include <filesystem>
#include <memory>

#include "io/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace sdgen {

// T5Tokenizer: the words of the text, segmented by a unigram model; the end id last. `tokenizer_json` or, where it is
// null, the model file (spiece.model) and `extra_ids` tokens <extra_id_N> after it.
//
// transformers 5 does without the library and adds to what it does, and so does this: special tokens that are spelled
// out in the text are recognised; words end at all white space whatever the model's normalizer says; byte_fallback is
// ignored, and unknown characters are always piece 2. tools/token_parity.py counts what stays different:
//   - letters with several accents that stand apart: the library replaces the longest match of its normalizer's rules,
//     transformers all of a cluster of up to five bytes by what the shortest stands for. It drops the tone of a
//     Vietnamese "a" + U+0302 + U+0301, which here is what "ấ" is: of CLDR's names in NFD, 1,313 Vietnamese
//     ones differ, and two others, and are read here as transformers reads them in NFC. Where case is folded, "A" +
//     U+030A is "å" here and "a" there;
//   - a text that becomes the unknown piece ("＜unk＞"), and U+2581 itself, if the model's rules leave it alone.
std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                             const Json* tokenizer_json, const std::filesystem::path& model_file);

}  // namespace sdgen
