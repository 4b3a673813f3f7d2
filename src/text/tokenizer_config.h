// What the JSON files of a tokenizer folder say about special tokens and lengths, read as transformers 5 reads them.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/added_tokens.h"
#include "text/bpe.h"

namespace sdgen {

// tokenizer_config.json, special_tokens_map.json, added_tokens.json and the "added_tokens" of tokenizer.json; each may
// be absent.
class TokenizerConfig {
 public:
  // `tokenizer_json`: the parsed tokenizer.json of the folder or null. Throws Error(input) naming file and key.
  TokenizerConfig(const std::filesystem::path& folder, const Json* tokenizer_json);
  // tokenizer_config.json alone, without a folder.
  explicit TokenizerConfig(Config values);

  // "CLIPTokenizer" and so on, without the ending "Fast"; "" if the folder does not say.
  const std::string& tokenizer_class() const { return class_; }
  // The value of tokenizer_config.json, for keys that one class alone knows.
  const Config& values() const { return values_; }

  // Ids that the text encoder takes. Absent, or beyond any text encoder (transformers writes 1e30 for "no limit"): 77,
  // the length of every CLIP text encoder.
  int max_length() const;

  // Makes `content` the token of `name` ("eos_token") where the files say nothing: the default of the tokenizer class.
  void set_default(const std::string& name, const std::string& content);
  // Makes `tokens` the additional special tokens where the files have none.
  void set_default_extra(std::vector<AddedToken> tokens);

  // The content of a named token; empty if it is null or absent.
  std::optional<std::string> token(const std::string& name) const;

  // All added tokens in the order in which transformers adds them to the tokenizer, with their ids: those of the
  // vocabulary, or new ones after it, which `vocabulary_size` is the first of.
  std::vector<AddedToken> added_tokens(const Vocabulary& vocabulary, int vocabulary_size) const;

 private:
  // A token is given as a string or as an object; only an object carries flags.
  struct Token {
    AddedToken token;
    bool plain = true;
    bool operator==(const Token&) const = default;
  };

  static Token read_token(const Json& value, const std::string& who, bool special);
  void read_special_tokens(const Json& object, const std::string& who, bool special);
  void read_added_decoder(const Json& object);
  void read_legacy_added(const std::filesystem::path& path);
  void read_json_added(const Json& tokenizer_json, const std::string& who);

  Config values_;
  std::string class_;
  std::map<std::string, std::optional<Token>> named_;  // null where the file says null
  std::map<int, AddedToken> decoder_;                  // tokens that the files list with an id
  std::vector<Token> extra_;
  bool has_extra_ = false;
};

}  // namespace sdgen
