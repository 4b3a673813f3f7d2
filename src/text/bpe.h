// Byte pair encoding: merges neighbours by rank (Sennrich et al., 2016, arXiv:1508.07909).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sdgen {

// Hash that lets std::string keys be looked up by std::string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

// Token -> id, both unique.
using Vocabulary = std::unordered_map<std::string, int, StringHash, std::equal_to<>>;

constexpr int kMaxTokenId = 10'000'000;  // no embedding table is longer

// What the symbols of a word are, and what becomes of those that the vocabulary lacks.
struct BpeRules {
  std::string end_of_word;  // appended to a word's last symbol
  int unknown_id = -1;      // for each unknown symbol; -1: they are dropped
  // Of the 256 bytes: unknown symbols are the bytes that they are spelt with. Empty: they are not.
  std::vector<int> byte_ids = {};
};

// Immutable. A word of n characters takes O(n log n) time.
class Bpe {
 public:
  // `merges` are pairs of ids, best first, with the id of their concatenation. Where a pair comes twice, the last
  // counts.
  struct Merge {
    int left, right, merged;
  };
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeRules rules);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Appends the ids of `word` (UTF-8; characters are the initial symbols) to `ids`.
  void encode(std::string_view word, std::vector<int>& ids) const;

 private:
  struct Target {
    int rank, merged;
  };

  const Target* find(int left, int right) const;
  std::vector<int> symbols(std::string_view word) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::uint64_t, Target> merges_;  // key: left id, right id
  BpeRules rules_;
};

}  // namespace sdgen
