#include "text/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

// transformers' SPECIAL_TOKENS_ATTRIBUTES, in the order in which it adds them.
constexpr std::array kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};

constexpr int kDefaultLength = 77;
constexpr double kNoLimit = 100'000;  // no text encoder of a diffusion model takes more ids

[[noreturn]] void refuse(const std::string& who, const std::string& what) {
  throw Error(Fault::input, who + ": " + what);
}

Config read_config(const fs::path& path) {
  return fs::exists(path) ? Config::read(path) : Config(Json::object(), path.string());
}

const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

bool flag(const Json& object, const char* key, bool fallback, const std::string& who) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(who, concat("'", key, "' is not a boolean"));
  return value->get<bool>();
}

int parse_id(const std::string& text, const std::string& who) {
  int id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 || id > kMaxTokenId) {
    refuse(who, "added_tokens_decoder: '" + printable(text) + "' is not a token id");
  }
  return id;
}

int parse_id(const Json& value, const std::string& who) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kMaxTokenId) refuse(who, "the id is not a token id");
  return value.get<int>();
}

}  // namespace

TokenizerConfig::TokenizerConfig(Config values)
    : values_(std::move(values)), class_(values_.string("tokenizer_class", "")) {
  if (class_.ends_with("Fast")) class_.resize(class_.size() - 4);
  read_special_tokens(values_.json(), values_.who(), false);
}

TokenizerConfig::TokenizerConfig(const fs::path& folder, const Json* tokenizer_json)
    : TokenizerConfig(read_config(folder / "tokenizer_config.json")) {
  // Folders of transformers 4.34 and later list their added tokens with ids; then the older files do not count.
  if (values_.has("added_tokens_decoder")) {
    read_added_decoder(values_.json().at("added_tokens_decoder"));
  } else {
    if (const fs::path path = folder / "special_tokens_map.json"; fs::exists(path)) {
      read_special_tokens(Config::read(path).json(), path.string(), true);
    }
    if (const fs::path path = folder / "added_tokens.json"; fs::exists(path)) read_legacy_added(path);
    if (tokenizer_json != nullptr) read_json_added(*tokenizer_json, (folder / "tokenizer.json").string());
  }
  // A named token takes the flags of the listed token of the same content.
  for (auto& [name, token] : named_) {
    if (!token) continue;
    for (const auto& [id, listed] : decoder_) {
      if (listed.content == token->token.content) token = Token{listed, false};
    }
  }
}

// `special` is what special_tokens_map.json implies for its objects.
TokenizerConfig::Token TokenizerConfig::read_token(const Json& value, const std::string& who, bool special) {
  Token token;
  if (value.is_string()) {
    token.token = {.content = value.get<std::string>(), .normalized = false, .special = true};
    return token;
  }
  const Json* content = value.is_object() ? find(value, "content") : nullptr;
  if (content == nullptr || !content->is_string())
    refuse(who, "is neither a string nor an object with a 'content' string");
  token.plain = false;
  token.token.content = content->get<std::string>();
  token.token.single_word = flag(value, "single_word", false, who);
  token.token.lstrip = flag(value, "lstrip", false, who);
  token.token.rstrip = flag(value, "rstrip", false, who);
  token.token.special = special || flag(value, "special", false, who);
  token.token.normalized = flag(value, "normalized", !token.token.special, who);
  return token;
}

void TokenizerConfig::read_special_tokens(const Json& object, const std::string& who, bool special) {
  for (const char* name : kNames) {
    const Json* value = find(object, name);
    if (value == nullptr) continue;
    named_[name] = value->is_null() ? std::nullopt : std::optional(read_token(*value, who + ": " + name, special));
  }
  for (const char* name : {"extra_special_tokens", "additional_special_tokens"}) {
    const Json* value = find(object, name);
    if (value == nullptr || !value->is_array() || (value->empty() && has_extra_)) continue;
    has_extra_ = true;
    for (const Json& token : *value) {
      Token extra = read_token(token, who + ": " + name, special);
      if (std::find(extra_.begin(), extra_.end(), extra) == extra_.end()) extra_.push_back(std::move(extra));
    }
    if (!value->empty()) break;
  }
}

void TokenizerConfig::read_added_decoder(const Json& object) {
  const std::string who = values_.who() + ": added_tokens_decoder";
  if (!object.is_object()) refuse(who, "is not an object");
  for (const auto& [key, value] : object.items()) {
    const int id = parse_id(key, values_.who());
    const Token token = read_token(value, concat(who, ": ", id), false);
    if (token.plain) refuse(who, concat(id, " is not an object"));
    decoder_[id] = token.token;
  }
}

void TokenizerConfig::read_legacy_added(const fs::path& path) {
  const Config file = Config::read(path);
  for (const auto& [content, value] : file.json().items()) {
    const auto names_it = [&content = content](const auto& entry) {
      return entry.second && entry.second->token.content == content;
    };
    const auto lists_it = [&content = content](const Token& token) { return token.token.content == content; };
    const bool special =
        std::any_of(named_.begin(), named_.end(), names_it) || std::any_of(extra_.begin(), extra_.end(), lists_it);
    const int id = parse_id(value, file.who() + ": '" + printable(content) + "'");
    decoder_[id] = {.content = content, .normalized = !special, .special = special};
  }
}

void TokenizerConfig::read_json_added(const Json& tokenizer_json, const std::string& who) {
  const Json* list = find(tokenizer_json, "added_tokens");
  if (list == nullptr) return;
  if (!list->is_array()) refuse(who, "'added_tokens' is not a list");
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string where = concat(who, ": added_tokens[", i, "]");
    const Token token = read_token((*list)[i], where, false);
    const Json* id = token.plain ? nullptr : find((*list)[i], "id");
    if (id == nullptr) refuse(where, "has no id");
    decoder_[parse_id(*id, where)] = token.token;
  }
}

int TokenizerConfig::max_length() const {
  const Json* value = find(values_.json(), "model_max_length");
  if (value == nullptr || value->is_null()) return kDefaultLength;
  const double length = value->is_number() ? value->get<double>() : std::nan("");
  if (length > kNoLimit) return kDefaultLength;
  if (!(length >= 3) || length != std::floor(length)) {
    refuse(values_.who(), "model_max_length is not a whole number of at least 3 (begin, one of the text, end)");
  }
  return static_cast<int>(length);
}

void TokenizerConfig::set_default(const std::string& name, const std::string& content) {
  named_.try_emplace(name, Token{{.content = content, .normalized = false, .special = true}, true});
}

void TokenizerConfig::set_default_extra(std::vector<AddedToken> tokens) {
  if (std::exchange(has_extra_, true)) return;
  for (AddedToken& token : tokens) extra_.push_back({std::move(token), false});
}

std::optional<std::string> TokenizerConfig::token(const std::string& name) const {
  const auto found = named_.find(name);
  if (found == named_.end() || !found->second) return std::nullopt;
  return found->second->token.content;
}

// TokenizersBackend.__init__ of transformers 5.23.0, then add_tokens of tokenizers 0.23.3. A token that comes twice
// with different flags (SD 1.5 names <|endoftext|> as eos_token with flags and as pad_token without) has those of the
// last.
std::vector<AddedToken> TokenizerConfig::added_tokens(const Vocabulary& vocabulary, int vocabulary_size) const {
  std::vector<Token> all;
  for (const auto& [id, token] : decoder_) all.push_back({token, false});
  const auto listed = [count = all.size(), &all](const Token& token) {
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(count);
    return std::any_of(all.begin(), end,
                       [&](const Token& other) { return other.token.content == token.token.content; }) ||
           std::find(all.begin(), all.end(), token) != all.end();
  };
  for (const char* name : kNames) {
    const auto found = named_.find(name);
    if (found != named_.end() && found->second && !listed(*found->second)) all.push_back(*found->second);
  }
  for (const Token& token : extra_) {
    if (!listed(token)) all.push_back(token);
  }

  std::vector<AddedToken> result;
  int highest = -1;  // id given so far
  for (Token& entry : all) {
    AddedToken& token = entry.token;
    if (token.content.empty()) continue;
    for (const auto& [name, named] : named_)
      token.special = token.special || (named && named->token.content == token.content);
    const auto same =
        std::find_if(result.begin(), result.end(), [&](const auto& other) { return other.content == token.content; });
    const auto known = vocabulary.find(token.content);
    const int free = highest >= vocabulary_size ? highest + 1 : vocabulary_size;
    token.id = known != vocabulary.end() ? known->second : same != result.end() ? same->id : free;
    highest = std::max(highest, token.id);
    if (same != result.end()) {
      *same = token;
    } else {
      result.push_back(token);
    }
  }
  return result;
}

}  // namespace sdgen
