#include "text/clip_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/bpe_files.h"
#include "text/byte_level.h"
#include "text/clip_vocabulary.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

// NFC, then runs of white space to one space, then lower case, code point by code point.
std::string normalize(std::string_view text) {
  const std::string composed = unicode::compose(text);
  std::string out;
  out.reserve(composed.size());
  bool in_space = false;
  for (std::size_t offset = 0; offset < composed.size();) {
    const char32_t c = next_character(composed, offset);
    const bool space = unicode::is_space(c);
    if (!space) {
      unicode::append_lower(out, c);
    } else if (!in_space) {
      out += ' ';
    }
    in_space = space;
  }
  return out;
}

enum class Kind { space, letter, number, other };

Kind kind(char32_t c) {
  if (unicode::is_letter(c)) return Kind::letter;
  if (unicode::is_number(c)) return Kind::number;
  return unicode::is_space(c) ? Kind::space : Kind::other;
}

// End of the longest run of `wanted` from `offset` on.
std::size_t run_end(std::string_view text, std::size_t offset, Kind wanted) {
  for (std::size_t end = offset; offset < text.size(); offset = end) {
    if (kind(next_character(text, end)) != wanted) break;
  }
  return offset;
}

// Calls on_word for each match of CLIP's regular expression
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// which is cut again by GPT-2's: that leaves all matches whole but the first two.
template <class OnWord>
void split_words(std::string_view text, const OnWord& on_word) {
  static constexpr std::array<std::string_view, 2> names = {"startoftext", "endoftext"};
  static constexpr std::array<std::string_view, 7> contractions = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  for (std::size_t begin = 0; begin < text.size();) {
    const std::string_view rest = text.substr(begin);
    const auto is_marker = [&](std::string_view name) {
      return rest.starts_with("<|") && rest.substr(2).starts_with(name) &&
             rest.substr(2 + name.size()).starts_with("|>");
    };
    const auto begins = [&](std::string_view word) { return rest.starts_with(word); };
    if (const auto name = std::find_if(names.begin(), names.end(), is_marker); name != names.end()) {
      for (const std::string_view part : {std::string_view("<|"), *name, std::string_view("|>")}) on_word(part);
      begin += name->size() + 4;
      continue;
    }
    if (const auto word = std::find_if(contractions.begin(), contractions.end(), begins); word != contractions.end()) {
      on_word(*word);
      begin += word->size();
      continue;
    }
    std::size_t end = begin;
    const Kind first = kind(next_character(text, end));
    if (first == Kind::letter || first == Kind::other) end = run_end(text, end, first);
    if (first != Kind::space) on_word(text.substr(begin, end - begin));
    begin = end;
  }
}

class ClipTokenizer : public Tokenizer {
 public:
  ClipTokenizer(Bpe bpe, const TokenizerConfig& config, const std::string& who) : bpe_(std::move(bpe)) {
    const Vocabulary& vocabulary = bpe_.vocabulary();
    std::vector<AddedToken> added = config.added_tokens(vocabulary, static_cast<int>(vocabulary.size()));
    begin_id_ = require_token(vocabulary, config.token("bos_token").value_or(""), "bos_token", who);
    end_id_ = require_token(vocabulary, config.token("eos_token").value_or(""), "eos_token", who);
    pad_id_ = end_id_;
    for (const AddedToken& token : added) {
      if (token.content == config.token("pad_token")) pad_id_ = token.id;
    }
    max_length_ = config.max_length();
    for (const auto& [token, value] : vocabulary) size_ = std::max(size_, value + 1);
    for (const AddedToken& token : added) size_ = std::max(size_, token.id + 1);
    added_ = AddedTokens(std::move(added), normalize, config.values().boolean("split_special_tokens", false));
  }

  std::vector<int> encode_text(std::string_view text) const override {
    unicode::require_utf8(text);
    std::vector<int> ids;
    std::string mapped;
    const auto on_word = [&](std::string_view word) {
      mapped.clear();
      for (const char byte : word) mapped += alphabet_[static_cast<std::uint8_t>(byte)];
      bpe_.encode(mapped, ids);
    };
    added_.split(
        text, [&](std::string_view piece) { split_words(piece, on_word); }, [&](int id) { ids.push_back(id); });
    return ids;
  }

  const Vocabulary& vocabulary() const override { return bpe_.vocabulary(); }

 private:
  const std::array<std::string, 256> alphabet_ = byte_alphabet();
  Bpe bpe_;
};

std::unique_ptr<Tokenizer> make(BpeTables tables, TokenizerConfig config, const std::string& who) {
  config.set_default("bos_token", "<|startoftext|>");
  for (const char* name : {"eos_token", "unk_token", "pad_token"}) config.set_default(name, "<|endoftext|>");
  BpeRules rules;
  rules.end_of_word = "</w>";
  rules.unknown_id = require_token(tables.vocabulary, config.token("unk_token").value_or(""), "unk_token", who);
  return std::make_unique<ClipTokenizer>(Bpe(std::move(tables.vocabulary), tables.merges, rules), config, who);
}

// The tokens of single bytes, in the order of their ids: the printable ones first.
std::vector<std::string> byte_tokens() {
  const std::array<std::string, 256> alphabet = byte_alphabet();
  std::vector<std::string> tokens(alphabet.begin(), alphabet.end());
  std::sort(tokens.begin(), tokens.end(), [](const std::string& a, const std::string& b) {
    std::size_t i = 0, j = 0;
    return next_character(a, i) < next_character(b, j);
  });
  return tokens;
}

}  // namespace

std::unique_ptr<Tokenizer> load_clip_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                               const Json* tokenizer_json) {
  const std::string who = (folder / (tokenizer_json != nullptr ? "tokenizer.json" : "vocab.json")).string();
  BpeTables tables = tokenizer_json != nullptr ? read_bpe_model(*tokenizer_json, who)
                                               : read_bpe_files(folder / "vocab.json", folder / "merges.txt");
  return make(std::move(tables), std::move(config), who);
}

std::unique_ptr<Tokenizer> builtin_clip_tokenizer(const std::string& pad_token) {
  const std::string who = "CLIP's built-in vocabulary";
  return make(clip_bpe_tables(byte_tokens()), TokenizerConfig(Config({{"pad_token", pad_token}}, who)), who);
}

}  // namespace sdgen
