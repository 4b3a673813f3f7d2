#include "text/bpe_files.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::uint64_t kMaxFileBytes = 64u << 20;

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw Error(Fault::input, where + ": " + what);
}

// Collects tokens and ids with their checks.
class VocabularyBuilder {
 public:
  explicit VocabularyBuilder(std::string who) : who_(std::move(who)) {}

  void reserve(std::size_t count) { vocabulary_.reserve(count); }

  void add(std::string token, std::uint64_t id) {
    if (id > kMaxTokenId) refuse_id(token);
    if (id >= taken_.size()) taken_.resize(id + id / 2 + 1);
    if (taken_[id]) {
      fail(who_, concat("id ", id, " comes twice, the second time for '", printable(token), "'"));
    }
    taken_[id] = true;
    const auto [place, is_new] = vocabulary_.try_emplace(std::move(token), static_cast<int>(id));
    if (!is_new) fail(who_, "has the key '" + printable(place->first) + "' twice");
  }

  [[noreturn]] void refuse_id(const std::string& token) const {
    fail(who_, concat("the id of '", printable(token), "' is not a whole number from 0 to ", kMaxTokenId));
  }

  Vocabulary take() {
    if (vocabulary_.empty()) fail(who_, "has no tokens");
    return std::move(vocabulary_);
  }

  const std::string& who() const { return who_; }

 private:
  std::string who_;
  Vocabulary vocabulary_;
  std::vector<bool> taken_;  // ids
};

Vocabulary read_vocabulary(const Json& object, const std::string& who) {
  if (!object.is_object()) fail(who, "is not an object of tokens and ids");
  VocabularyBuilder builder(who);
  builder.reserve(object.size());
  for (const auto& [token, id] : object.items()) {
    if (!id.is_number_unsigned()) builder.refuse_id(token);
    builder.add(token, id.get<std::uint64_t>());
  }
  return builder.take();
}

// Takes the members of one flat object as nlohmann parses them: half the time of building a Json first.
class FlatVocabulary : public nlohmann::json_sax<Json> {
 public:
  explicit FlatVocabulary(std::string who) : builder_(std::move(who)) {}

  Vocabulary take() { return builder_.take(); }

  bool key(string_t& name) override {
    token_ = std::move(name);
    return true;
  }
  bool number_unsigned(number_unsigned_t id) override {
    if (!inside_) refuse();
    builder_.add(std::move(token_), id);
    return true;
  }
  bool start_object(std::size_t) override {
    if (inside_) refuse();
    return inside_ = true;
  }
  bool end_object() override { return true; }
  bool null() override { refuse(); }
  bool boolean(bool) override { refuse(); }
  bool number_integer(number_integer_t) override { refuse(); }
  bool number_float(number_float_t, const string_t&) override { refuse(); }
  bool string(string_t&) override { refuse(); }
  bool binary(binary_t&) override { refuse(); }
  bool start_array(std::size_t) override { refuse(); }
  bool end_array() override { refuse(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(builder_.who(), concat("is not valid JSON at byte ", position, ": the file is damaged or incomplete"));
  }

 private:
  [[noreturn]] void refuse() const {
    if (inside_) builder_.refuse_id(token_);
    fail(builder_.who(), "is not an object of tokens and ids");
  }

  VocabularyBuilder builder_;
  std::string token_;
  bool inside_ = false;
};

Vocabulary read_vocabulary_file(const std::filesystem::path& path) {
  const std::string text = read_file(path, kMaxFileBytes);
  // nlohmann would take a NUL for the end of the text.
  if (text.find('\0') != std::string::npos) fail(path.string(), concat("has a NUL at byte ", text.find('\0')));
  FlatVocabulary vocabulary(path.string());
  Json::sax_parse(text, &vocabulary);
  return vocabulary.take();
}

// Looks up the parts and the result of merges; `where` says, when asked, which merge it is.
template <class Where>
int find_part(const Vocabulary& vocabulary, std::string_view token, const Where& where) {
  const auto found = vocabulary.find(token);
  if (found == vocabulary.end()) {
    fail(where(),
         "'" + printable(token) + "' is not in the vocabulary: vocabulary and merges are of different tokenizers");
  }
  return found->second;
}

template <class Where>
Bpe::Merge find_merge(const Vocabulary& vocabulary, std::string_view left, std::string_view right, const Where& where) {
  return {find_part(vocabulary, left, where), find_part(vocabulary, right, where),
          find_part(vocabulary, std::string(left).append(right), where)};
}

// "left right", one space, nothing else.
template <class Where>
Bpe::Merge parse_merge(const Vocabulary& vocabulary, std::string_view line, const Where& where) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    fail(where(), "'" + printable(line) + "' is not two tokens with one space between them");
  }
  return find_merge(vocabulary, line.substr(0, space), line.substr(space + 1), where);
}

}  // namespace

BpeTables read_bpe_files(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt) {
  BpeTables tables;
  tables.vocabulary = read_vocabulary_file(vocab_json);
  const std::string text = read_file(merges_txt, kMaxFileBytes);
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) continue;
    const auto where = [&] { return concat(merges_txt.string(), ", line ", number); };
    tables.merges.push_back(parse_merge(tables.vocabulary, line, where));
  }
  return tables;
}

BpeTables read_bpe_model(const Json& tokenizer_json, const std::string& who) {
  const Json& model = tokenizer_json.at("model");
  if (!model.contains("vocab")) fail(who, "model has no 'vocab'");
  if (!model.contains("merges") || !model["merges"].is_array()) fail(who, "model has no list 'merges'");
  BpeTables tables;
  tables.vocabulary = read_vocabulary(model["vocab"], who + ": model.vocab");
  const Json& merges = model["merges"];
  tables.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const Json& entry = merges[i];
    const auto where = [&] { return concat(who, ": model.merges[", i, "]"); };
    if (entry.is_string()) {
      tables.merges.push_back(parse_merge(tables.vocabulary, entry.get_ref<const std::string&>(), where));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      tables.merges.push_back(find_merge(tables.vocabulary, entry[0].get_ref<const std::string&>(),
                                         entry[1].get_ref<const std::string&>(), where));
    } else {
      fail(where(), "is neither a string nor a list of two strings");
    }
  }
  return tables;
}

BpeTables bpe_tables_of(const std::vector<std::string>& tokens, const std::vector<std::string>& merges,
                        const std::string& who) {
  VocabularyBuilder builder(who);
  builder.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) builder.add(tokens[i], i);
  BpeTables tables{builder.take(), {}};
  tables.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto where = [&] { return concat(who, ", merge ", i); };
    tables.merges.push_back(parse_merge(tables.vocabulary, merges[i], where));
  }
  return tables;
}

int require_token(const Vocabulary& vocabulary, const std::string& token, const std::string& role,
                  const std::string& who) {
  const auto found = vocabulary.find(token);
  if (found == vocabulary.end()) {
    fail(who, concat("the vocabulary of ", vocabulary.size(), " tokens lacks ", role, " '", printable(token), "'"));
  }
  return found->second;
}

}  // namespace sdgen
