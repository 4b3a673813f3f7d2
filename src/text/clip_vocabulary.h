// CLIP's vocabulary, compiled in: bpe_simple_vocab_16e6.txt.gz as OpenAI published it and PyPI's open_clip_torch has
// it.
#pragma once

#include <string>
#include <vector>

#include "text/bpe_files.h"

namespace sdgen {

// 49408 tokens: those of the 256 bytes (`bytes`, in the order of their ids), the same at the end of a word, one a
// merge, and the begin and end marks.
BpeTables clip_bpe_tables(const std::vector<std::string>& bytes);

}  // namespace sdgen
