#include "text/gemma_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/bpe_files.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

std::string with_visible_blanks(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c == ' ')
      out += "\u2581";
    else
      out += c;
  return out;
}

// The ids of "<0x00>" to "<0xFF>".
std::vector<int> byte_ids(const Vocabulary& vocabulary, const std::string& who) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::vector<int> ids;
  for (std::size_t byte = 0; byte < 256; ++byte)
    ids.push_back(require_token(vocabulary, concat("<0x", digits[byte / 16], digits[byte % 16], '>'), "the byte", who));
  return ids;
}

// Does the post-processor of a tokenizer.json put this token before a text? Throws Error(input) for one that does
// anything else.
bool puts_before(const Json& tokenizer_json, const std::string& token, const std::string& who) {
  const auto processor = tokenizer_json.find("post_processor");
  if (processor == tokenizer_json.end() || processor->is_null()) return false;
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
             begin = {{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
  const auto single = processor->is_object() ? processor->find("single") : processor->end();
  if (single != processor->end() && *single == Json::array({text})) return false;
  if (single != processor->end() && *single == Json::array({begin, text})) return true;
  throw Error(Fault::input, concat(who, ": post_processor: only a template that puts '", printable(token),
                                   "' before a text is supported"));
}

class GemmaTokenizer : public Tokenizer {
 public:
  GemmaTokenizer(Bpe bpe, const TokenizerConfig& config, bool begins, const std::string& who) : bpe_(std::move(bpe)) {
    const Vocabulary& vocabulary = bpe_.vocabulary();
    std::vector<AddedToken> added = config.added_tokens(vocabulary, static_cast<int>(vocabulary.size()));
    if (begins) begin_id_ = require_token(vocabulary, config.token("bos_token").value_or(""), "bos_token", who);
    pad_id_ = require_token(vocabulary, config.token("pad_token").value_or(""), "pad_token", who);
    pads_ = false;
    max_length_ = config.max_length();
    for (const auto& [token, value] : vocabulary) size_ = std::max(size_, value + 1);
    for (const AddedToken& token : added) size_ = std::max(size_, token.id + 1);
    added_ = AddedTokens(std::move(added), with_visible_blanks, config.values().boolean("split_special_tokens", false));
  }

  std::vector<int> encode_text(std::string_view text) const override {
    unicode::require_utf8(text);
    std::vector<int> ids;
    added_.split(
        text, [&](std::string_view piece) { bpe_.encode(piece, ids); }, [&](int id) { ids.push_back(id); });
    return ids;
  }

  const Vocabulary& vocabulary() const override { return bpe_.vocabulary(); }

 private:
  Bpe bpe_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_gemma_tokenizer(const std::filesystem::path& folder, TokenizerConfig config,
                                                const Json& tokenizer_json) {
  const std::string who = (folder / "tokenizer.json").string();
  BpeTables tables = read_bpe_model(tokenizer_json, who);
  for (const auto& [name, content] : {std::pair{"unk_token", "<unk>"},
                                      {"bos_token", "<bos>"},
                                      {"eos_token", "<eos>"},
                                      {"pad_token", "<pad>"},
                                      {"mask_token", "<mask>"}})
    config.set_default(name, content);
  // transformers listens to add_bos_token only where there is no tokenizer.json.
  const bool begins = puts_before(tokenizer_json, config.token("bos_token").value_or(""), who);
  BpeRules rules;
  rules.byte_ids = byte_ids(tables.vocabulary, who);
  return std::make_unique<GemmaTokenizer>(Bpe(std::move(tables.vocabulary), tables.merges, rules), config, begins, who);
}

}  // namespace sdgen
