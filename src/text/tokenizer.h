// From UTF-8 text to token ids.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"

namespace sdgen {

// Immutable once it has learned its words; encode() may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text` alone: no begin, end or padding ids, nothing cut; what transformers' tokenizer(text,
  // add_special_tokens=False) gives. Special tokens that are spelled out in the text ("<|endoftext|>", and with SD 2.x
  // "!", its padding) are recognised as there. NUL and control characters are characters like any other. Throws
  // Error(usage) on invalid UTF-8 (byte offset and value in the message).
  std::vector<int> encode(std::string_view text) const;
  // The same with what stands around every text; of the beginning of one with what stands before it.
  std::vector<int> encode_framed(std::string_view text) const;
  std::vector<int> encode_framed_beginning(std::string_view text) const;

  // Learns `word`, which from now on becomes `count` ids of its own wherever a text spells it, as after diffusers'
  // load_textual_inversion(): the first new id is vocabulary_size(), and "word_1", "word_2", ... are the others alone.
  // False, and nothing is changed, when the word or one of these is known already.
  bool learn(const std::string& word, int count);
  // How many ids the word has whose first one `id` is; 1 for all other ids.
  int length_of_word(int id) const;

  // Lets it take so many ids, begin and end included: pipelines ask some encoders for fewer or more than they say.
  void set_max_length(int ids) { max_length_ = ids; }
  // What stands around every text, and is read with it as one: the turns of a chat. What follows a text is cut with it
  // where it is too long.
  void set_frame(std::string before, std::string after);
  // Lets it read all texts in lower case, as pipelines do that were trained on such captions.
  void set_lower_case() { lower_case_ = true; }

  int begin_id() const { return begin_id_; }  // -1: this tokenizer puts none
  int end_id() const { return end_id_; }
  int pad_id() const { return pad_id_; }
  // Whether a text is padded to max_length(); language models are told its ids alone.
  bool pads() const { return pads_; }
  int max_length() const { return max_length_; }  // ids a text encoder takes, begin and end included
  int room() const;                               // ids of a framed text that it takes: without begin and end
  int vocabulary_size() const { return size_; }   // all ids are below

 protected:
  virtual std::vector<int> encode_text(std::string_view text) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;

  int begin_id_ = -1, end_id_ = -1, pad_id_ = -1, max_length_ = 77, size_ = 0;
  bool pads_ = true;
  AddedTokens added_;

 private:
  std::map<int, int> words_;  // first id -> how many, of words of several ids
  bool lower_case_ = false;
  std::string before_, after_;
};

// One prompt as the text encoder takes it.
struct TokenizedPrompt {
  std::vector<int> ids;  // begin, text, end, padding: exactly max_length(), unless it does not pad
  std::size_t cut = 0;   // how many of the text's did not fit
};

// Begin + framed text + end, cut to max_length() so that the end id stays, padded with pad_id(): what
// transformers' tokenizer(text, padding="max_length", truncation=True) gives with padding_side "right".
TokenizedPrompt tokenize(const Tokenizer& tokenizer, std::string_view text);

// The words of a text of which some ids do not fit, for people to read.
struct CutWords {
  std::size_t count;
  std::string first;  // a few of them, as they are written
};
CutWords cut_words(const Tokenizer& tokenizer, std::string_view text);

// Reads the tokenizer of a diffusers folder (".../tokenizer") as transformers 5 does: tokenizer.json if there is one,
// else a BPE from vocab.json + merges.txt or a SentencePiece model (spiece.model). The class
// (CLIPTokenizer, T5Tokenizer, Qwen2Tokenizer, GemmaTokenizer) is tokenizer_config.json's, else what the files suggest;
// begin, end and pad ids and max_length come from tokenizer_config.json and special_tokens_map.json. Where no usable
// model_max_length is given (absent, null, or transformers' 1e30 for "no limit"), it is 77. Throws Error(input).
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace sdgen
