// Tokens that are found in the text before a tokenizer's model sees it.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen {

// The fields of tokenizers' AddedToken.
struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character (\w) is next to it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool normalized = true;    // its normalized form is looked for in the normalized text; else content in the raw text
  bool special = false;
  int id = -1;

  bool operator==(const AddedToken&) const = default;
};

// Cuts a text at its added tokens as tokenizers' AddedVocabulary does: first those of the raw text, then, in the rest,
// which is normalized piece by piece, the others. At each place the longest token that begins first wins.
class AddedTokens {
 public:
  using Normalize = std::function<std::string(std::string_view)>;

  AddedTokens() = default;
  // With `skip_special` (split_special_tokens of tokenizer_config.json) special tokens are found, but not taken.
  AddedTokens(std::vector<AddedToken> tokens, Normalize normalize, bool skip_special = false);

  // Looked for from now on, like the others.
  void add(AddedToken token);
  // Is there a token that is found in the same texts as one of this content, which is normalized, would be?
  bool knows(std::string_view content) const;

  using OnText = std::function<void(std::string_view)>;
  using OnToken = std::function<void(int)>;
  // Calls on_text(normalized text) and on_token(id) from left to right. No text is empty.
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const;

 private:
  // Patterns by first byte, longest first.
  using Matcher = std::array<std::vector<AddedToken>, 256>;

  static const AddedToken* find(const Matcher& matcher, const std::function<bool(const AddedToken&)>& wanted);
  static void insert(Matcher& matcher, AddedToken token);
  static const AddedToken* match(const Matcher& matcher, std::string_view rest);
  void split(const Matcher& matcher, std::string_view text, const OnText& on_text, const OnToken& on_token) const;

  Matcher raw_, normalized_;
  Normalize normalize_;
  bool skip_special_ = false;
};

}  // namespace sdgen
