#include "text/unigram.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "io/utf8.h"

namespace sdgen {
namespace {

constexpr double kUnknownPenalty = 10;  // an unknown character scores this much less than the least probable piece

}  // namespace

Unigram::Unigram(std::vector<std::pair<std::string, double>> pieces, int unknown_id) : unknown_id_(unknown_id) {
  double least = std::numeric_limits<double>::infinity();
  vocabulary_.reserve(pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    vocabulary_[pieces[id].first] = static_cast<int>(id);
    least = std::min(least, pieces[id].second);
  }
  unknown_score_ = least - kUnknownPenalty;
  pieces_.reserve(pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    auto& [text, score] = pieces[id];
    if (vocabulary_.at(text) == static_cast<int>(id)) pieces_.push_back({std::move(text), score, static_cast<int>(id)});
  }
  std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.text < b.text; });
}

// Viterbi: best[end] is the last piece of the best segmentation of word[0, end). Pieces are tried by begin, then by
// length, and only a strictly better one replaces another, as in the reference, because ties are common.
void Unigram::encode(std::string_view word, std::vector<int>& ids) const {
  struct Best {
    double score = 0;
    std::size_t begin = 0;
    int id = -1;  // -1: no segmentation ends here
  };
  std::vector<Best> best(word.size() + 1);
  const auto improve = [&](std::size_t begin, std::size_t end, double score, int id) {
    score += best[begin].score;
    if (best[end].id < 0 || score > best[end].score) best[end] = {score, begin, id};
  };
  for (std::size_t begin = 0, character_end = 0; begin < word.size(); begin = character_end) {
    next_character(word, character_end);
    bool covered = false;
    auto first = pieces_.begin(), last = pieces_.end();  // the pieces that begin with word[begin, end)
    for (std::size_t end = begin; end < word.size() && first != last;) {
      const std::size_t depth = end++ - begin;
      const auto byte = [depth](const Piece& piece) { return static_cast<std::uint8_t>(piece.text[depth]); };
      const auto wanted = static_cast<std::uint8_t>(word[begin + depth]);
      if (first->text.size() == depth) ++first;
      first =
          std::lower_bound(first, last, wanted, [&](const Piece& piece, std::uint8_t b) { return byte(piece) < b; });
      last = std::upper_bound(first, last, wanted, [&](std::uint8_t b, const Piece& piece) { return b < byte(piece); });
      if (first == last || first->text.size() != end - begin) continue;
      improve(begin, end, first->score, first->id);
      covered = covered || end == character_end;
    }
    if (!covered) improve(begin, character_end, unknown_score_, unknown_id_);
  }

  const std::size_t front = ids.size();
  for (std::size_t end = word.size(); end > 0;) {
    std::size_t begin = best[end].begin;
    int id = best[end].id;
    if (id == unknown_id_) {  // neighbouring unknown characters make one, unless they are a piece together
      const auto unknown_before = [&] { return begin > 0 && best[begin].id == unknown_id_; };
      while (unknown_before()) begin = best[begin].begin;
      const auto found = vocabulary_.find(word.substr(begin, end - begin));
      if (found != vocabulary_.end()) id = found->second;
    }
    ids.push_back(id);
    end = begin;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(front), ids.end());
}

}  // namespace sdgen
