#include "text/tokenizer.h"

#include <algorithm>
#include <optional>
#include <string>

#include "io/json.h"
#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/byte_level_bpe.h"
#include "text/clip_tokenizer.h"
#include "text/gemma_tokenizer.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/tokenizer_config.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

constexpr std::ptrdiff_t kFirstWords = 4;

namespace fs = std::filesystem;

// The name of the tokenizer class for folders that do not say: by the algorithm of the file that is there.
std::string class_by_files(const Json* tokenizer_json, const fs::path& model_file) {
  if (tokenizer_json == nullptr) return model_file.empty() ? "CLIPTokenizer" : "T5Tokenizer";
  const Json& model = tokenizer_json->at("model");
  if (model.value("type", "") == "Unigram") return "T5Tokenizer";
  // CLIP alone marks the ends of words, and Gemma spells unknown characters by bytes.
  if (model.value("byte_fallback", Json(false)) == Json(true)) return "GemmaTokenizer";
  return model.value("end_of_word_suffix", Json("")) == Json("</w>") ? "CLIPTokenizer" : "Qwen2Tokenizer";
}

std::optional<Json> read_tokenizer_json(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  Json json = read_json(path);
  const bool has_model = json.is_object() && json.contains("model") && json["model"].is_object();
  if (!has_model || !json["model"].value("type", Json("")).is_string()) {
    throw Error(Fault::input,
                path.string() + ": has no object 'model' with a string 'type': it is not a tokenizer of transformers");
  }
  return json;
}

}  // namespace

std::vector<int> Tokenizer::encode(std::string_view text) const {
  const std::vector<int> ids = lower_case_ ? encode_text(unicode::stripped(unicode::lower(text))) : encode_text(text);
  if (words_.empty()) return ids;
  std::vector<int> spread;
  for (const int id : ids)
    for (int i = 0; i < length_of_word(id); ++i) spread.push_back(id + i);
  return spread;
}

void Tokenizer::set_frame(std::string before, std::string after) {
  before_ = std::move(before);
  after_ = std::move(after);
}

std::vector<int> Tokenizer::encode_framed(std::string_view text) const { return encode(concat(before_, text, after_)); }

std::vector<int> Tokenizer::encode_framed_beginning(std::string_view text) const {
  return encode(concat(before_, text));
}

bool Tokenizer::learn(const std::string& word, int count) {
  std::vector<std::string> tokens{word};
  for (int i = 1; i < count; ++i) tokens.push_back(concat(word, '_', i));
  for (const std::string& token : tokens)
    if (vocabulary().contains(token) || added_.knows(token)) return false;
  if (count > 1) words_[size_] = count;
  for (std::string& token : tokens) added_.add({.content = std::move(token), .id = size_++});
  return true;
}

int Tokenizer::length_of_word(int id) const {
  const auto found = words_.find(id);
  return found == words_.end() ? 1 : found->second;
}

int Tokenizer::room() const { return max_length_ - (begin_id_ >= 0) - (end_id_ >= 0); }

TokenizedPrompt tokenize(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int> ids = tokenizer.encode_framed(text);
  const auto length = static_cast<std::size_t>(tokenizer.max_length());
  const std::size_t taken = std::min(ids.size(), static_cast<std::size_t>(tokenizer.room()));
  TokenizedPrompt prompt;
  prompt.ids.reserve(length);
  if (tokenizer.begin_id() >= 0) prompt.ids.push_back(tokenizer.begin_id());
  prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(taken));
  if (tokenizer.end_id() >= 0) prompt.ids.push_back(tokenizer.end_id());
  if (tokenizer.pads()) prompt.ids.resize(length, tokenizer.pad_id());
  prompt.cut = ids.size() - taken;
  return prompt;
}

CutWords cut_words(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<unicode::Word> words = unicode::words(text);
  // The more words, the more ids, as a rule: ids seldom cross words.
  const auto fits = [&](const unicode::Word& word) {
    return tokenizer.encode_framed_beginning(text.substr(0, word.end)).size() <=
           static_cast<std::size_t>(tokenizer.room());
  };
  const auto first = std::ranges::partition_point(words, fits);
  CutWords cut{.count = static_cast<std::size_t>(words.end() - first), .first = {}};
  if (cut.count > 0) {
    const std::size_t end = first[std::min<std::ptrdiff_t>(kFirstWords, words.end() - first) - 1].end;
    cut.first = text.substr(first->begin, end - first->begin);
  }
  return cut;
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& folder) {
  const std::optional<Json> json = read_tokenizer_json(folder / "tokenizer.json");
  const Json* tokenizer_json = json ? &*json : nullptr;
  const fs::path model_file = fs::exists(folder / "spiece.model") ? folder / "spiece.model" : fs::path();
  const bool has_bpe = fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt");
  if (tokenizer_json == nullptr && model_file.empty() && !has_bpe) {
    throw Error(Fault::input, folder.string() +
                                  ": holds no tokenizer: neither tokenizer.json nor spiece.model nor vocab.json with "
                                  "merges.txt: the folder is incomplete or not a tokenizer's");
  }
  TokenizerConfig config(folder, tokenizer_json);
  const std::string name =
      config.tokenizer_class().empty() ? class_by_files(tokenizer_json, model_file) : config.tokenizer_class();
  const bool clip = name == "CLIPTokenizer", qwen2 = name == "Qwen2Tokenizer", gemma = name == "GemmaTokenizer";
  if (!clip && !qwen2 && !gemma && name != "T5Tokenizer")
    config.values().unsupported("tokenizer_class",
                                "known are CLIPTokenizer, T5Tokenizer, Qwen2Tokenizer and GemmaTokenizer");
  if (tokenizer_json == nullptr && (gemma || (clip || qwen2 ? !has_bpe : model_file.empty()))) {
    throw Error(Fault::input, concat(folder.string(), ": a ", printable(name), " needs tokenizer.json",
                                     gemma           ? ""
                                     : clip || qwen2 ? " or vocab.json and merges.txt"
                                                     : " or spiece.model",
                                     ", which the folder lacks"));
  }
  if (clip) return load_clip_tokenizer(folder, std::move(config), tokenizer_json);
  if (gemma) return load_gemma_tokenizer(folder, std::move(config), *tokenizer_json);
  if (qwen2) return load_qwen2_tokenizer(folder, std::move(config), tokenizer_json);
  return load_t5_tokenizer(folder, std::move(config), tokenizer_json, model_file);
}

}  // namespace sdgen
