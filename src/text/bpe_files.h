// BPE vocabularies and merges from files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/bpe.h"

namespace sdgen {

struct BpeTables {
  Vocabulary vocabulary;
  std::vector<Bpe::Merge> merges;
};

// vocab.json {"token": id, ...} and merges.txt: lines "left right", best first; lines that begin with "#version" are
// comments. Throws Error(input) naming file and key or line: ids that are invalid or come twice, lines without two
// parts, merges of or into tokens that the vocabulary lacks.
BpeTables read_bpe_files(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt);

// The "model" of a tokenizer.json: "vocab" as above, "merges" a list of "left right" or ["left", "right"].
BpeTables read_bpe_model(const Json& tokenizer_json, const std::string& who);

// The tokens by their ids, and lines as in merges.txt.
BpeTables bpe_tables_of(const std::vector<std::string>& tokens, const std::vector<std::string>& merges,
                        const std::string& who);

// The id of `token`. Throws Error(input) that names `role` ("eos_token") if the vocabulary lacks it.
int require_token(const Vocabulary& vocabulary, const std::string& token, const std::string& role,
                  const std::string& who);

}  // namespace sdgen
