#include "text/bpe.h"

#include <algorithm>
#include <cstddef>
#include <queue>
#include <tuple>

#include "io/utf8.h"

namespace sdgen {
namespace {

std::uint64_t pair_key(int left, int right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeRules rules)
    : vocabulary_(std::move(vocabulary)), rules_(std::move(rules)) {
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    merges_[pair_key(merges[rank].left, merges[rank].right)] = {static_cast<int>(rank), merges[rank].merged};
  }
}

const Bpe::Target* Bpe::find(int left, int right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

std::vector<int> Bpe::symbols(std::string_view word) const {
  std::vector<int> ids;
  std::string last;  // the last symbol with the end-of-word mark
  for (std::size_t begin = 0, end = 0; begin < word.size(); begin = end) {
    next_character(word, end);
    std::string_view symbol = word.substr(begin, end - begin);
    if (end == word.size() && !rules_.end_of_word.empty()) symbol = last = std::string(symbol) + rules_.end_of_word;
    const auto found = vocabulary_.find(symbol);
    if (found == vocabulary_.end() && !rules_.byte_ids.empty()) {
      for (const char byte : symbol) ids.push_back(rules_.byte_ids[static_cast<std::uint8_t>(byte)]);
      continue;
    }
    const int id = found != vocabulary_.end() ? found->second : rules_.unknown_id;
    if (id >= 0) ids.push_back(id);
  }
  return ids;
}

// Symbols form a linked list; a heap holds the pairs that can merge. A popped pair whose symbols have changed since is
// stale and skipped, so every merge costs one heap operation and pushes at most two.
void Bpe::encode(std::string_view word, std::vector<int>& out) const {
  std::vector<int> ids = symbols(word);
  const int count = static_cast<int>(ids.size());
  std::vector<int> next(ids.size()), previous(ids.size());
  for (int i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }

  using Candidate = std::tuple<int, int, int>;  // rank, index of the left symbol, merged id
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](int left) {
    if (left < 0 || next[left] >= count) return;
    if (const Target* target = find(ids[left], ids[next[left]])) candidates.emplace(target->rank, left, target->merged);
  };
  for (int i = 0; i + 1 < count; ++i) consider(i);

  constexpr int kGone = -1;
  while (!candidates.empty()) {
    const auto [rank, left, merged] = candidates.top();
    candidates.pop();
    if (ids[left] == kGone || next[left] >= count) continue;
    const int right = next[left];
    const Target* target = find(ids[left], ids[right]);
    if (target == nullptr || target->merged != merged) continue;
    ids[left] = merged;
    ids[right] = kGone;
    next[left] = next[right];
    if (next[right] < count) previous[next[right]] = left;
    consider(previous[left]);
    consider(left);
  }
  for (int i = 0; i < count; i = next[i]) out.push_back(ids[i]);
}

}  // namespace sdgen
