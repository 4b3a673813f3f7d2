#include "text/prompt_chunks.h"

#include <cstddef>

#include "sdgen/error.h"
#include "text/prompt_grammar.h"

namespace sdgen {
namespace {

constexpr std::ptrdiff_t kBacktrack = 20;  // ids
constexpr std::size_t kMostChunks = 4096;  // each is a call of the text encoder, and the U-Net attends to them all

// Fills chunks, word by word.
class Chunker {
 public:
  explicit Chunker(const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), room_(static_cast<std::size_t>(tokenizer.room())), comma_id_(comma_of(tokenizer)) {}

  // One id, or a word's `length` ids from `id` on, which stay together.
  void add(int id, int length, float weight) {
    if (id == comma_id_) {
      comma_ = size();
    } else if (full() && comma_ >= 0 && size() - comma_ <= kBacktrack) {
      break_behind_comma();
    }
    if (ids_.size() + static_cast<std::size_t>(length) > room_) next();
    for (int i = 0; i < length; ++i) ids_.push_back(id + i);
    weights_.resize(ids_.size(), weight);
  }

  // Begins another chunk.
  void next() {
    PromptChunk chunk;
    if (tokenizer_.begin_id() >= 0) chunk.ids.push_back(tokenizer_.begin_id());
    chunk.weights.assign(chunk.ids.size(), 1);
    chunk.ids.insert(chunk.ids.end(), ids_.begin(), ids_.end());
    chunk.weights.insert(chunk.weights.end(), weights_.begin(), weights_.end());
    chunk.ids.push_back(tokenizer_.end_id());
    const auto length = static_cast<std::size_t>(tokenizer_.max_length());
    chunk.ids.resize(length, tokenizer_.pad_id());
    chunk.weights.resize(length, 1);
    if (chunks_.size() == kMostChunks)
      throw Error(Fault::usage, concat("the prompt has more than ", kMostChunks, " times the ", room_,
                                       " tokens that a text encoder takes at once"));
    chunks_.push_back(std::move(chunk));
    ids_.clear();
    weights_.clear();
    comma_ = -1;
  }

  std::vector<PromptChunk> finish() {
    if (!ids_.empty() || chunks_.empty()) next();
    return std::move(chunks_);
  }

 private:
  // The id of a comma after a word.
  static int comma_of(const Tokenizer& tokenizer) {
    const std::vector<int> ids = tokenizer.encode("a,");
    return ids.empty() ? -1 : ids.back();
  }

  std::ptrdiff_t size() const { return static_cast<std::ptrdiff_t>(ids_.size()); }
  bool full() const { return ids_.size() == room_; }

  void break_behind_comma() {
    const std::ptrdiff_t keep = comma_ + 1;
    const std::vector<int> ids(ids_.begin() + keep, ids_.end());
    const std::vector<float> weights(weights_.begin() + keep, weights_.end());
    ids_.resize(static_cast<std::size_t>(keep));
    weights_.resize(static_cast<std::size_t>(keep));
    next();
    ids_ = ids;
    weights_ = weights;
  }

  const Tokenizer& tokenizer_;
  std::size_t room_;
  int comma_id_;
  std::vector<int> ids_;  // of the chunk that is being filled
  std::vector<float> weights_;
  std::ptrdiff_t comma_ = -1;  // where in it the last comma is
  std::vector<PromptChunk> chunks_;
};

}  // namespace

std::vector<PromptChunk> weighted_chunks(const Tokenizer& tokenizer, std::string_view prompt) {
  Chunker chunker(tokenizer);
  for (const PromptPart& part : parse_weights(prompt)) {
    if (is_break(part)) {
      chunker.next();
      continue;
    }
    const auto weight = static_cast<float>(part.weight);
    const std::vector<int> ids = tokenizer.encode(part.text);
    for (std::size_t i = 0; i < ids.size();) {
      const int length = tokenizer.length_of_word(ids[i]);
      chunker.add(ids[i], length, weight);
      i += static_cast<std::size_t>(length);
    }
  }
  return chunker.finish();
}

}  // namespace sdgen
