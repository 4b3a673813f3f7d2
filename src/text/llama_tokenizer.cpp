#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/bpe_files.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

// A model file has no merges: every way to cut a piece into two others is one, earlier pieces first, then shorter left
// parts (generate_merges in transformers' tokenization_utils_base.py).
BpeTables tables_of(const SentencePieceModel& model) {
  BpeTables tables;
  for (const auto& piece : model.pieces) {
    tables.vocabulary.emplace(piece.text, static_cast<int>(tables.vocabulary.size()));
  }
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const std::string_view text = model.pieces[id].text;
    for (std::size_t cut = unicode::length(text[0]); cut < text.size(); cut += unicode::length(text[cut])) {
      const auto left = tables.vocabulary.find(text.substr(0, cut));
      if (left == tables.vocabulary.end()) continue;
      const auto right = tables.vocabulary.find(text.substr(cut));
      if (right != tables.vocabulary.end())
        tables.merges.push_back({left->second, right->second, static_cast<int>(id)});
    }
  }
  return tables;
}

// Which of begin and end the template of a tokenizer.json puts around one text.
struct Template {
  bool begin = false, end = false;
};

Template read_template(const Json& tokenizer_json, const std::string& who) {
  const Json processor = tokenizer_json.value("post_processor", Json());
  if (processor.is_null()) return {};
  const bool known = processor.is_object() && processor.value("type", Json()) == "TemplateProcessing";
  const Json single = known ? processor.value("single", Json()) : Json();
  if (!single.is_array()) throw Error(Fault::input, who + ": post_processor: only TemplateProcessing is supported");
  Template result;
  bool before = true;
  for (const Json& part : single) {
    if (part.is_object() && part.contains("Sequence")) {
      before = false;
    } else {
      (before ? result.begin : result.end) = true;
    }
  }
  return result;
}

class LlamaTokenizer : public Tokenizer {
 public:
  LlamaTokenizer(Bpe bpe, const TokenizerConfig& config, Template around, const std::string& who)
      : bpe_(std::move(bpe)),
        prefix_(config.values().boolean("add_prefix_space", true)),
        prefix_always_(config.values().boolean("legacy", false)) {
    const Vocabulary& vocabulary = bpe_.vocabulary();
    for (const auto& [token, id] : vocabulary) size_ = std::max(size_, id + 1);
    std::vector<AddedToken> added = config.added_tokens(vocabulary, static_cast<int>(vocabulary.size()));
    const int end = require_token(vocabulary, config.token("eos_token").value_or(""), "eos_token", who);
    pad_id_ = end;
    for (const AddedToken& token : added) {
      if (token.content == config.token("pad_token")) pad_id_ = token.id;
      size_ = std::max(size_, token.id + 1);
    }
    if (around.begin) begin_id_ = require_token(vocabulary, config.token("bos_token").value_or(""), "bos_token", who);
    if (around.end) end_id_ = end;
    max_length_ = config.max_length();
    added_ = AddedTokens(
        std::move(added), [](std::string_view text) { return std::string(text); },
        config.values().boolean("split_special_tokens", false));
  }

  std::vector<int> encode_text(std::string_view text) const override {
    unicode::require_utf8(text);
    std::vector<int> ids;
    const auto on_text = [&](std::string_view piece, bool begins_text) {
      std::string word;
      if (prefix_ && (begins_text || prefix_always_) && !piece.starts_with(' ') && !piece.starts_with(kBlank))
        word = kBlank;
      for (const char c : piece) {
        if (c == ' ') {
          word += kBlank;
        } else {
          word += c;
        }
      }
      bpe_.encode(word, ids);
    };
    added_.split(text, on_text, [&](int id) { ids.push_back(id); });
    return ids;
  }

  const Vocabulary& vocabulary() const override { return bpe_.vocabulary(); }
  std::string spelling(const std::string& token) const override { return spelled_piece(token); }

 private:
  Bpe bpe_;
  bool prefix_, prefix_always_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_llama_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                                const Json* tokenizer_json, const std::filesystem::path& model_file) {
  const std::string who = tokenizer_json != nullptr ? (folder / "tokenizer.json").string() : model_file.string();
  BpeTables tables;
  Template around;
  std::vector<AddedToken> special;
  if (tokenizer_json != nullptr) {
    tables = read_bpe_model(*tokenizer_json, who);
    around = read_template(*tokenizer_json, who);
  } else {
    const SentencePieceModel model = read_sentencepiece_model(model_file);
    tables = tables_of(model);
    around = {config.values().boolean("add_bos_token", false), config.values().boolean("add_eos_token", false)};
    using Type = SentencePieceModel::Type;
    for (const auto& piece : model.pieces) {
      if (piece.type != Type::control && piece.type != Type::user_defined) continue;
      special.push_back({.content = piece.text, .normalized = false, .special = piece.type == Type::control});
    }
  }
  config.set_default("bos_token", "<s>");
  config.set_default("eos_token", "</s>");
  config.set_default("unk_token", "<unk>");
  config.set_default_extra(std::move(special));
  BpeRules rules;
  rules.byte_fallback = true;
  return std::make_unique<LlamaTokenizer>(Bpe(std::move(tables.vocabulary), tables.merges, rules), config, around, who);
}

}  // namespace sdgen
