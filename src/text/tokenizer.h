// From UTF-8 text to token ids.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace sdgen {

// Immutable after construction; encode() may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text` alone: no begin, end or padding ids, nothing cut; what transformers' tokenizer(text,
  // add_special_tokens=False) gives. Special tokens that are spelled out in the text ("<|endoftext|>", and with SD 2.x
  // "!", its padding) are recognised as there. NUL and control characters are characters like any other. Throws
  // Error(usage) on invalid UTF-8 (byte offset and value in the message).
  virtual std::vector<int> encode(std::string_view text) const = 0;

  int begin_id() const { return begin_id_; }  // -1: this tokenizer puts none
  int end_id() const { return end_id_; }      // -1: this tokenizer puts none
  int pad_id() const { return pad_id_; }
  int max_length() const { return max_length_; }  // ids a text encoder takes, begin and end included
  virtual int vocabulary_size() const = 0;        // all ids are below

 protected:
  int begin_id_ = -1, end_id_ = -1, pad_id_ = -1, max_length_ = 77;
};

// One prompt as the text encoder takes it.
struct TokenizedPrompt {
  std::vector<int> ids;  // exactly max_length(): begin, text, end, padding
  int cut = 0;           // ids of the text that did not fit
};

// Begin + text + end, cut to max_length() so that the end id stays, padded with pad_id(): what
// transformers' tokenizer(text, padding="max_length", truncation=True) gives with padding_side "right".
TokenizedPrompt tokenize(const Tokenizer& tokenizer, std::string_view text);

// Reads the tokenizer of a diffusers folder (".../tokenizer") as transformers 5 does: tokenizer.json if there is one,
// else CLIP's BPE from vocab.json + merges.txt or a SentencePiece model (spiece.model, tokenizer.model). The class
// (CLIPTokenizer, T5Tokenizer, LlamaTokenizer) is tokenizer_config.json's, else what the files suggest; begin, end and
// pad ids and max_length come from tokenizer_config.json and special_tokens_map.json. Where no usable model_max_length
// is given (absent, null, or transformers' 1e30 for "no limit"), it is 77. Throws Error(input).
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace sdgen
