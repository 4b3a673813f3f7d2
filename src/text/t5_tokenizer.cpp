#include <openssl/evp.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/bpe_files.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

constexpr int kUnknownId = 2;  // fixed in T5Tokenizer
constexpr std::int64_t kMaxExtraIds = 10'000;

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
std::string read_charsmap(const Json& tokenizer_json, const std::string& who) {
  if (!tokenizer_json.contains("normalizer")) return {};
  const Json& normalizer = tokenizer_json["normalizer"];
  const bool sequence = normalizer.is_object() && normalizer.contains("normalizers");
  const Json list = sequence ? normalizer["normalizers"] : Json::array({normalizer});
  for (const Json& entry : list) {
    if (!entry.is_object() || entry.value("type", Json()) != "Precompiled") continue;
    const Json map = entry.value("precompiled_charsmap", Json());
    if (!map.is_string()) throw Error(Fault::input, who + ": normalizer: precompiled_charsmap is not a string");
    return decode_base64(map.get<std::string>(), who + ": precompiled_charsmap");
  }
  return {};
}

SentencePieceModel read_model(const Json& tokenizer_json, const std::string& who) {
  SentencePieceModel model;
  const Json vocabulary = tokenizer_json.at("model").value("vocab", Json());
  if (!vocabulary.is_array()) throw Error(Fault::input, who + ": model.vocab is not a list of pieces and scores");
  for (const Json& entry : vocabulary) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      throw Error(Fault::input, concat(who, ": model.vocab[", model.pieces.size(), "] is not [piece, score]"));
    model.pieces.push_back({.text = entry[0].get<std::string>(), .score = entry[1].get<float>()});
  }
  model.charsmap = read_charsmap(tokenizer_json, who);
  return model;
}

// Gives `model` the pieces <extra_id_N>, the last one first. Where it has one already, that is no longer found.
void add_extra_ids(SentencePieceModel& model, std::int64_t count) {
  std::unordered_set<std::string> extra;
  std::vector<SentencePieceModel::Piece> pieces;
  for (std::int64_t i = count - 1; i >= 0; --i) {
    pieces.push_back({.text = concat("<extra_id_", i, ">")});
    extra.insert(pieces.back().text);
  }
  for (SentencePieceModel::Piece& piece : model.pieces)
    if (extra.contains(piece.text)) piece.text.insert(0, 1, '\1');
  model.pieces.insert(model.pieces.end(), pieces.begin(), pieces.end());
}

class T5Tokenizer : public Tokenizer {
 public:
  T5Tokenizer(const SentencePieceModel& model, const TokenizerConfig& config, std::string who) : who_(std::move(who)) {
    check(library_.LoadFromSerializedProto(model_for_library(model, kUnknownId, who_)));
    for (const SentencePieceModel::Piece& piece : model.pieces) vocabulary_.emplace(piece.text, vocabulary_.size());
    size_ = static_cast<int>(vocabulary_.size());
    std::vector<AddedToken> added = config.added_tokens(vocabulary_, size_);
    end_id_ = require_token(vocabulary_, config.token("eos_token").value_or(""), "eos_token", who_);
    pad_id_ = end_id_;
    for (const AddedToken& token : added) {
      if (token.content == config.token("pad_token")) pad_id_ = token.id;
      size_ = std::max(size_, token.id + 1);
    }
    max_length_ = config.max_length();
    added_ = AddedTokens(
        std::move(added), [this](std::string_view text) { return normalize(text); },
        config.values().boolean("split_special_tokens", false));
  }

  std::vector<int> encode_text(std::string_view text) const override {
    unicode::require_utf8(text);
    std::vector<int> ids;
    added_.split(
        text, [&](std::string_view piece) { encode_words(piece, ids); }, [&](int id) { ids.push_back(id); });
    return ids;
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void check(const sentencepiece::util::Status& status) const {
    if (!status.ok()) throw Error(Fault::input, concat(who_, ": the sentencepiece library: ", status.ToString()));
  }

  // The library does not say what it makes of a text before it segments it, but its pieces do.
  std::string normalize(std::string_view text) const {
    std::vector<std::string> pieces;
    check(library_.Encode(text, &pieces));
    std::string normal;
    for (const std::string& piece : pieces) normal += spelled_piece(piece);
    return normal.substr(normal.starts_with(' ') ? 1 : 0);
  }

  // Words are segmented one by one, as by transformers: they end at all white space, whatever the model's rules make of
  // it.
  void encode_words(std::string_view text, std::vector<int>& ids) const {
    std::vector<int> word;
    std::size_t begin = 0;
    for (std::size_t at = 0, after = 0; at < text.size(); at = after) {
      const bool space = unicode::is_space(next_character(text, after));
      if (!space && after < text.size()) continue;
      check(library_.Encode(text.substr(begin, (space ? at : after) - begin), &word));
      ids.insert(ids.end(), word.begin(), word.end());
      begin = after;
    }
  }

  std::string who_;
  sentencepiece::SentencePieceProcessor library_;
  Vocabulary vocabulary_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                             const Json* tokenizer_json, const std::filesystem::path& model_file) {
  const std::string who = tokenizer_json != nullptr ? (folder / "tokenizer.json").string() : model_file.string();
  const std::int64_t extra_ids = config.values().integer("extra_ids", 100);
  if (extra_ids < 0 || extra_ids > kMaxExtraIds) {
    config.values().unsupported("extra_ids", concat("only 0 to ", kMaxExtraIds, " are"));
  }
  SentencePieceModel model =
      tokenizer_json != nullptr ? read_model(*tokenizer_json, who) : read_sentencepiece_model(model_file);
  if (model.pieces.size() <= kUnknownId) {
    throw Error(Fault::input, concat(who, ": has ", model.pieces.size(), " pieces; piece ", kUnknownId,
                                     " must stand for unknown characters"));
  }
  config.set_default("eos_token", "</s>");
  config.set_default("unk_token", "<unk>");
  config.set_default("pad_token", "<pad>");
  using Type = SentencePieceModel::Type;
  std::vector<AddedToken> extra;
  for (const auto& piece : model.pieces) {
    if (piece.type == Type::control || piece.type == Type::user_defined)
      extra.push_back({.content = piece.text, .normalized = false, .special = piece.type == Type::control});
  }
  if (tokenizer_json == nullptr) add_extra_ids(model, extra_ids);
  for (std::int64_t i = 0; i < extra_ids; ++i) {
    extra.push_back({.content = concat("<extra_id_", i, ">"), .normalized = false, .special = true});
  }
  config.set_default_extra(std::move(extra));
  return std::make_unique<T5Tokenizer>(model, config, who);
}

}  // namespace sdgen
