#include "text/byte_level_bpe.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

// Goes through a text by the regular expression of Qwen's words:
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
class QwenWords {
 public:
  explicit QwenWords(std::string_view text) : text_(text) {}

  // The next word; empty at the end.
  std::string_view next() {
    const std::size_t begin = at_;
    if (at_ < text_.size()) at_ = end_of_word();
    return text_.substr(begin, at_ - begin);
  }

 private:
  static bool is_break(char32_t c) { return c == '\r' || c == '\n'; }
  static bool is_mark(char32_t c) { return !unicode::is_space(c) && !unicode::is_letter(c) && !unicode::is_number(c); }

  // The end of the characters from `from` on that are such.
  template <class Test>
  std::size_t run(std::size_t from, const Test& test) const {
    for (std::size_t after = from; from < text_.size(); from = after)
      if (!test(next_character(text_, after))) break;
    return from;
  }

  std::size_t end_of_word() const {
    if (const std::size_t end = end_of_contraction(); end > at_) return end;
    std::size_t second = at_;
    const char32_t first = next_character(text_, second);
    if (unicode::is_letter(first)) return run(at_, unicode::is_letter);
    if (!is_break(first) && !unicode::is_number(first))
      if (const std::size_t end = run(second, unicode::is_letter); end > second) return end;
    if (unicode::is_number(first)) return second;
    const std::size_t marks = first == ' ' ? second : at_;
    if (const std::size_t end = run(marks, is_mark); end > marks) return run(end, is_break);
    return end_of_space();
  }

  // White space up to its last line break, if it has one; else but its last character, if a word comes after it.
  std::size_t end_of_space() const {
    const std::size_t end = run(at_, unicode::is_space);
    std::size_t last = at_, after_break = at_;
    for (std::size_t from = at_, after = at_; from < end; from = after) {
      last = from;
      if (is_break(next_character(text_, after))) after_break = after;
    }
    if (after_break > at_) return after_break;
    return end < text_.size() && last > at_ ? last : end;
  }

  // Upper or lower case; U+017F is an s as well.
  std::size_t end_of_contraction() const {
    static constexpr std::array<std::string_view, 7> endings = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (text_[at_] != '\'') return at_;
    for (const std::string_view ending : endings) {
      std::size_t at = at_ + 1;
      const bool found = std::ranges::all_of(ending, [&](char letter) {
        if (at >= text_.size()) return false;
        const char32_t c = next_character(text_, at);
        const char32_t folded = c == U'\u017F' ? U's' : c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
        return folded == static_cast<char32_t>(letter);
      });
      if (found) return at;
    }
    return at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

class Qwen2Tokenizer : public Tokenizer {
 public:
  Qwen2Tokenizer(Bpe bpe, const TokenizerConfig& config, const std::string& who) : bpe_(std::move(bpe)) {
    const Vocabulary& vocabulary = bpe_.vocabulary();
    std::vector<AddedToken> added = config.added_tokens(vocabulary, static_cast<int>(vocabulary.size()));
    const std::string pad = config.token("pad_token").value_or("");
    const auto found = std::ranges::find(added, pad, &AddedToken::content);
    pad_id_ = found != added.end() ? found->id : require_token(vocabulary, pad, "pad_token", who);
    max_length_ = config.max_length();
    pads_ = false;
    for (const auto& [token, value] : vocabulary) size_ = std::max(size_, value + 1);
    for (const AddedToken& token : added) size_ = std::max(size_, token.id + 1);
    added_ = AddedTokens(std::move(added), unicode::compose, config.values().boolean("split_special_tokens", false));
  }

  std::vector<int> encode_text(std::string_view text) const override {
    unicode::require_utf8(text);
    std::vector<int> ids;
    std::string mapped;
    const auto on_text = [&](std::string_view piece) {
      QwenWords words(piece);
      for (std::string_view word = words.next(); !word.empty(); word = words.next()) {
        mapped.clear();
        for (const char byte : word) mapped += alphabet_[static_cast<std::uint8_t>(byte)];
        bpe_.encode(mapped, ids);
      }
    };
    added_.split(text, on_text, [&](int id) { ids.push_back(id); });
    return ids;
  }

  const Vocabulary& vocabulary() const override { return bpe_.vocabulary(); }

 private:
  const std::array<std::string, 256> alphabet_ = byte_alphabet();
  Bpe bpe_;
};

}  // namespace

std::unique_ptr<Tokenizer> qwen2_tokenizer(BpeTables tables, TokenizerConfig config, const std::string& who) {
  for (const char* name : {"eos_token", "unk_token", "pad_token"}) config.set_default(name, "<|endoftext|>");
  config.values().require("add_prefix_space", false);
  return std::make_unique<Qwen2Tokenizer>(Bpe(std::move(tables.vocabulary), tables.merges, {}), config, who);
}

std::unique_ptr<Tokenizer> load_qwen2_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                                const Json* tokenizer_json) {
  // Which transformers does not listen to where there is a tokenizer.json.
  if (tokenizer_json == nullptr)
    for (const char* key : {"add_bos_token", "add_eos_token"}) config.values().require(key, false);
  const std::string who = (folder / (tokenizer_json != nullptr ? "tokenizer.json" : "vocab.json")).string();
  BpeTables tables = tokenizer_json != nullptr ? read_bpe_model(*tokenizer_json, who)
                                               : read_bpe_files(folder / "vocab.json", folder / "merges.txt");
  return qwen2_tokenizer(std::move(tables), std::move(config), who);
}

}  // namespace sdgen
