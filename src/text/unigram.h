// Unigram language model: the most probable segmentation of a word (Kudo, 2018, arXiv:1804.10959).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"

namespace sdgen {

// As the model "Unigram" of tokenizers 0.23.3. The SentencePiece library computes the same in float32, which decides
// ties otherwise: "nnn" can be cut into "n" "nn" or "nn" "n", and which sum is greater, or whether they are equal, is a
// matter of rounding. tools/token_parity.py counts the texts that the library cuts differently.
class Unigram {
 public:
  // `pieces`: text and log probability; the index is the id. Of equal texts the last counts. Texts are not empty,
  // scores are finite, and `unknown_id` is one of the indices.
  Unigram(std::vector<std::pair<std::string, double>> pieces, int unknown_id);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  int size() const { return static_cast<int>(pieces_.size()); }  // ids

  // Appends the ids of `word` (UTF-8). Characters that no piece covers become the unknown id, neighbours together one.
  void encode(std::string_view word, std::vector<int>& ids) const;

 private:
  struct Piece {
    std::string text;
    double score;
    int id;
  };

  std::vector<Piece> pieces_;  // sorted by text: those that begin with the same bytes are neighbours
  Vocabulary vocabulary_;
  int unknown_id_;
  double unknown_score_;
};

}  // namespace sdgen
