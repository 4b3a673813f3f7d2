// Any bytes are a SentencePiece model that segments every text, or are refused with Error(input). What the library must
// not see is what the check in sentencepiece_model.h is for. The rules of a normalizer are looked up here once more
// with every index checked: the library's own steps can land far beyond what the sanitizer watches.
#include "fuzz.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"

using namespace sdgen;
using fuzz::accepts;

namespace {

std::uint32_t unit(std::string_view trie, std::size_t at) {
  fuzz::require(at < trie.size() / 4, "a unit inside the trie");
  std::uint32_t bits = 0;
  for (std::size_t i = 4; i-- > 0;) bits = bits << 8 | static_cast<std::uint8_t>(trie[4 * at + i]);
  return bits;
}

std::size_t offset(std::uint32_t bits) { return static_cast<std::size_t>(bits >> 10) << ((bits >> 6) & 8); }

// The library's search for the rules that begin `text`, as in darts-clone.
void look_up(std::string_view charsmap, std::string_view text) {
  const std::size_t size = unit(charsmap.substr(0, 4), 0);
  const std::string_view trie = charsmap.substr(4, size), replacements = charsmap.substr(4 + size);
  std::size_t node = offset(unit(trie, 0)), found = 0;
  for (const char c : text) {
    node ^= static_cast<std::uint8_t>(c);
    const std::uint32_t bits = unit(trie, node);
    if ((bits & (1u << 31 | 0xFF)) != static_cast<std::uint8_t>(c)) return;
    node ^= offset(bits);
    if ((bits >> 8 & 1) == 0) continue;
    fuzz::require((unit(trie, node) & 0x7FFFFFFF) < replacements.size(), "a replacement inside");
    fuzz::require(++found <= 32, "as many rules as the library has room for");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const fuzz::Folder folder;
  const std::string_view model = fuzz::text_of(bytes, size);
  const std::string text =
      repair_utf8(model.substr(0, 100)) + " A photo of caf\u00e9 ﬁ \u1ec7 12\u4e00! \U0001F600\u0301";
  SentencePieceModel rules{.pieces = {{.text = "a"}}, .charsmap = std::string(model)};
  SentencePieceModel parsed;
  if (accepts({Fault::input}, [&] { parsed = parse_sentencepiece_model(model, "fuzz"); })) {
    for (const auto& piece : parsed.pieces) spelled_piece(piece.text);
    rules.charsmap = parsed.charsmap;
  }
  if (accepts({Fault::input}, [&] { model_for_library(rules, 0, "fuzz"); }) && !rules.charsmap.empty())
    for (std::size_t begin = 0; begin < model.size() && begin < 4096; ++begin)
      look_up(rules.charsmap, model.substr(begin));
  if (parsed.pieces.empty()) return 0;
  folder.clear();
  folder.write("spiece.model", model);
  if (size % 2) folder.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 3})");
  std::unique_ptr<Tokenizer> tokenizer;
  if (!accepts({Fault::input}, [&] { tokenizer = load_tokenizer(folder.path()); })) return 0;
  const TokenizedPrompt prompt = tokenize(*tokenizer, text);
  for (const int id : prompt.ids)
    fuzz::require(id >= 0 && id < tokenizer->vocabulary_size(), "an id of the vocabulary");
  return 0;
}
