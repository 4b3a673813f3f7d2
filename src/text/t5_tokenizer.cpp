#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/bpe_files.h"
#include "text/charsmap.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/unicode.h"
#include "text/unigram.h"

namespace sdgen {
namespace {

constexpr int kUnknownId = 2;  // fixed in T5Tokenizer
constexpr std::int64_t kMaxExtraIds = 10'000;

struct UnigramTables {
  std::vector<std::pair<std::string, double>> pieces;
  Charsmap charsmap;
  std::vector<AddedToken> special;  // control and user-defined pieces, which are found in the text
};

// RFC 4648, with padding.
std::string decode_base64(const std::string& text, const std::string& who) {
  const std::size_t end = text.find_last_not_of('=') + 1, padding = text.size() - end;
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0 || padding > 2 || text.find('=') < end) throw Error(Fault::input, who + " is not base64");
  out.resize(static_cast<std::size_t>(size) - padding);
  return out;
}

// The first normalizer of type "Precompiled" in a tokenizer.json, alone or in a sequence.
Charsmap read_charsmap(const Json& tokenizer_json, const std::string& who) {
  if (!tokenizer_json.contains("normalizer")) return {};
  const Json& normalizer = tokenizer_json["normalizer"];
  const bool sequence = normalizer.is_object() && normalizer.contains("normalizers");
  const Json list = sequence ? normalizer["normalizers"] : Json::array({normalizer});
  for (const Json& entry : list) {
    if (!entry.is_object() || entry.value("type", Json()) != "Precompiled") continue;
    const Json map = entry.value("precompiled_charsmap", Json());
    if (!map.is_string()) throw Error(Fault::input, who + ": normalizer: precompiled_charsmap is not a string");
    return Charsmap(decode_base64(map.get<std::string>(), who + ": precompiled_charsmap"), who);
  }
  return {};
}

UnigramTables read_tables(const Json& tokenizer_json, const std::string& who) {
  UnigramTables tables;
  const Json vocabulary = tokenizer_json.at("model").value("vocab", Json());
  if (!vocabulary.is_array()) throw Error(Fault::input, who + ": model.vocab is not a list of pieces and scores");
  std::unordered_set<std::string> texts;
  for (std::size_t i = 0; i < vocabulary.size(); ++i) {
    const Json& entry = vocabulary[i];
    const auto fail = [&](const char* what) {
      throw Error(Fault::input, concat(who, ": model.vocab[", i, "] ", what));
    };
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      fail("is not [piece, score]");
    }
    tables.pieces.emplace_back(entry[0].get<std::string>(), entry[1].get<double>());
    const auto& [text, score] = tables.pieces.back();
    if (text.empty()) fail("has no text");
    if (!std::isfinite(score)) fail("has a score that is not a finite number");
    if (!texts.insert(text).second) fail("comes a second time");
  }
  tables.charsmap = read_charsmap(tokenizer_json, who);
  return tables;
}

UnigramTables read_tables(const std::filesystem::path& model_file, std::int64_t extra_ids) {
  const SentencePieceModel model = read_sentencepiece_model(model_file);
  using Type = SentencePieceModel::Type;
  UnigramTables tables;
  for (const auto& piece : model.pieces) {
    tables.pieces.emplace_back(piece.text, piece.score);
    if (piece.type == Type::control || piece.type == Type::user_defined) {
      tables.special.push_back({.content = piece.text, .normalized = false, .special = piece.type == Type::control});
    }
  }
  for (std::int64_t i = extra_ids - 1; i >= 0; --i) tables.pieces.emplace_back(concat("<extra_id_", i, ">"), 0.0);
  tables.charsmap = Charsmap(model.charsmap, model_file.string());
  return tables;
}

class T5Tokenizer : public Tokenizer {
 public:
  T5Tokenizer(UnigramTables tables, const TokenizerConfig& config, const std::string& who)
      : unigram_(std::move(tables.pieces), kUnknownId) {
    const Vocabulary& vocabulary = unigram_.vocabulary();
    size_ = unigram_.size();
    std::vector<AddedToken> added = config.added_tokens(vocabulary, size_);
    end_id_ = require_token(vocabulary, config.token("eos_token").value_or(""), "eos_token", who);
    pad_id_ = end_id_;
    for (const AddedToken& token : added) {
      if (token.content == config.token("pad_token")) pad_id_ = token.id;
      size_ = std::max(size_, token.id + 1);
    }
    max_length_ = config.max_length();
    added_ = AddedTokens(
        std::move(added),
        [charsmap = std::move(tables.charsmap)](std::string_view text) { return charsmap.normalize(text); },
        config.values().boolean("split_special_tokens", false));
  }

  std::vector<int> encode_text(std::string_view text) const override {
    unicode::require_utf8(text);
    std::vector<int> ids;
    added_.split(
        text, [&](std::string_view piece) { encode_piece(piece, ids); }, [&](int id) { ids.push_back(id); });
    return ids;
  }

  const Vocabulary& vocabulary() const override { return unigram_.vocabulary(); }

 private:
  void encode_piece(std::string_view piece, std::vector<int>& ids) const {
    std::size_t begin = 0;  // of the current word
    for (std::size_t offset = 0; offset < piece.size();) {
      const std::size_t at = offset;
      if (!unicode::is_space(next_character(piece, offset))) continue;
      encode_word(piece.substr(begin, at - begin), ids);
      begin = offset;
    }
    encode_word(piece.substr(begin), ids);
  }

  // A blank in the text itself begins a word as well.
  void encode_word(std::string_view text, std::vector<int>& ids) const {
    if (text.empty()) return;
    std::string word(text.starts_with(kBlank) ? "" : kBlank);
    word += text;
    for (std::size_t begin = 0; begin < word.size();) {
      const std::size_t end = std::min(word.find(kBlank, begin + kBlank.size()), word.size());
      unigram_.encode(std::string_view(word).substr(begin, end - begin), ids);
      begin = end;
    }
  }

  Unigram unigram_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                             const Json* tokenizer_json, const std::filesystem::path& model_file) {
  const std::string who = tokenizer_json != nullptr ? (folder / "tokenizer.json").string() : model_file.string();
  const std::int64_t extra_ids = config.values().integer("extra_ids", 100);
  if (extra_ids < 0 || extra_ids > kMaxExtraIds) {
    config.values().unsupported("extra_ids", concat("only 0 to ", kMaxExtraIds, " are"));
  }
  UnigramTables tables =
      tokenizer_json != nullptr ? read_tables(*tokenizer_json, who) : read_tables(model_file, extra_ids);
  if (tables.pieces.size() <= kUnknownId) {
    throw Error(Fault::input, concat(who, ": has ", tables.pieces.size(), " pieces; piece ", kUnknownId,
                                     " must stand for unknown characters"));
  }
  config.set_default("eos_token", "</s>");
  config.set_default("unk_token", "<unk>");
  config.set_default("pad_token", "<pad>");
  std::vector<AddedToken> extra = std::move(tables.special);
  for (std::int64_t i = 0; i < extra_ids; ++i) {
    extra.push_back({.content = concat("<extra_id_", i, ">"), .normalized = false, .special = true});
  }
  config.set_default_extra(std::move(extra));
  return std::make_unique<T5Tokenizer>(std::move(tables), config, who);
}

}  // namespace sdgen
