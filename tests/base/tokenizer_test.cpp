// Tokenizers against what transformers 5.23.0 gives (tests/fixtures/tokenizers, made by tools/make_token_fixtures.py).
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "base/scratch.h"
#include "io/json.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(SDGEN_FIXTURES) / "tokenizers";

const Json& expected() {
  static const Json json = read_json(kFixtures / "expected.json");
  return json;
}

// A copy of a fixture's folder in which files can be replaced; JSON files by merging into them.
class Folder : public Scratch {
 public:
  explicit Folder(const std::string& name) { fs::copy(kFixtures / name, folder()); }

  Folder& patch(const std::string& file, const Json& changes) {
    Json json = fs::exists(folder() / file) ? Json::parse(contents(folder() / file)) : Json::object();
    json.merge_patch(changes);
    write(file, json.dump());
    return *this;
  }
  Folder& put(const std::string& file, std::string_view bytes) {
    write(file, bytes);
    return *this;
  }
  Folder& drop(const std::string& file) {
    fs::remove(folder() / file);
    return *this;
  }
  std::unique_ptr<Tokenizer> load() const { return load_tokenizer(folder()); }
};

class TokenizerFixture : public testing::TestWithParam<const char*> {};

// The texts that the sentencepiece library reads otherwise (text/sentencepiece_tokenizer.h).
bool is_others(const std::string& folder, std::string_view text) {
  if (!folder.starts_with("t5")) return false;
  const auto has = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
  return has("e\u0301\u0302\u0303") || has("＜unk＞") || has("▁▁");
}

TEST_P(TokenizerFixture, GivesTheIdsOfTransformers) {
  const auto tokenizer = load_tokenizer(kFixtures / GetParam());
  const Json& texts = expected()["texts"];
  const Json& ids = expected()[GetParam()]["ids"];
  ASSERT_GE(texts.size(), 30u);
  ASSERT_EQ(texts.size(), ids.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    const Json ours(tokenizer->encode(text));
    if (is_others(GetParam(), text))
      EXPECT_NE(ours, ids[i]) << text;
    else
      EXPECT_EQ(ours, ids[i]) << text;
  }
}

TEST_P(TokenizerFixture, FramesCutsAndPadsAsTransformers) {
  const auto tokenizer = load_tokenizer(kFixtures / GetParam());
  const Json& whole = expected()[GetParam()]["whole"];
  ASSERT_GE(whole.size(), 3u);
  for (const auto& [index, ids] : whole.items()) {
    const auto i = static_cast<std::size_t>(std::stoi(index));
    const auto prompt = tokenize(*tokenizer, expected()["texts"][i].get<std::string>());
    EXPECT_EQ(Json(prompt.ids), ids) << index;
    const int around = (tokenizer->begin_id() >= 0) + (tokenizer->end_id() >= 0);
    const int all = static_cast<int>(expected()[GetParam()]["ids"][i].size());
    EXPECT_EQ(int(prompt.cut), std::max(0, all + around - tokenizer->max_length()));
  }
}

TEST_P(TokenizerFixture, GivesIdsBelowTheVocabularySize) {
  const auto tokenizer = load_tokenizer(kFixtures / GetParam());
  for (const Json& ids : expected()[GetParam()]["ids"]) {
    for (const int id : ids) EXPECT_LT(id, tokenizer->vocabulary_size());
  }
  EXPECT_LT(tokenizer->end_id(), tokenizer->vocabulary_size());
  EXPECT_LT(tokenizer->pad_id(), tokenizer->vocabulary_size());
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerFixture,
                         testing::Values("clip", "clip-sd2", "clip-bare", "clip-json", "t5", "t5-json", "qwen",
                                         "qwen-json", "gemma"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Tokenizer, NamesTheFirstByteThatIsNotUtf8) {
  for (const char* name : {"clip", "t5"}) {
    const auto tokenizer = load_tokenizer(kFixtures / name);
    const auto refusal = [&](std::string_view text) {
      return message_of(Fault::usage, [&] { tokenizer->encode(text); });
    };
    EXPECT_CONTAINS(refusal("a\xC3(b"), "byte 1 of 4 (0xC3)");
    EXPECT_CONTAINS(refusal("ab\xFF"), "byte 2 of 3 (0xFF)");
    EXPECT_CONTAINS(refusal("\xED\xA0\x80"), "byte 0 of 3 (0xED)");  // a surrogate
    EXPECT_CONTAINS(refusal("red \xE4\xB8"), "byte 4 of 6 (0xE4)");  // cut
  }
}

TEST(Tokenizer, TakesNulAndControlsAsCharacters) {
  const auto tokenizer = load_tokenizer(kFixtures / "clip");
  EXPECT_EQ(tokenizer->encode(std::string_view("\0", 1)).size(), 1u);
  EXPECT_EQ(tokenizer->encode(std::string_view("a\0b", 3)).size(), 3u);
}

TEST(Tokenizer, IsQuickOnLongWords) {
  for (const char* name : {"clip", "t5"}) {
    const auto tokenizer = load_tokenizer(kFixtures / name);
    const std::clock_t begin = std::clock();  // processor time: the machine may be busy with other things
    tokenizer->encode(std::string(100'000, 'a'));
    tokenizer->encode(std::string(100'000, '<'));
    EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 10) << name;  // a fraction of a second, unless it is quadratic
  }
}

TEST(Tokenizer, ServesSeveralThreads) {
  const auto tokenizer = load_tokenizer(kFixtures / "clip-json");
  std::vector<std::thread> threads;
  std::vector<Json> results(4);
  for (Json& result : results) {
    threads.emplace_back([&result, &tokenizer] {
      for (const Json& text : expected()["texts"]) result.push_back(tokenizer->encode(text.get<std::string>()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Json& result : results) EXPECT_EQ(result, expected()["clip-json"]["ids"]);
}

TEST(Tokenizer, ReadsMaxLength) {
  const auto length = [](const Json& value) {
    return Folder("clip").patch("tokenizer_config.json", {{"model_max_length", value}}).load()->max_length();
  };
  EXPECT_EQ(length(32), 32);
  EXPECT_EQ(length(77.0), 77);
  EXPECT_EQ(length(1e30), 77);  // transformers' "no limit"
  EXPECT_EQ(length(nullptr), 77);
  EXPECT_EQ(Folder("clip").drop("tokenizer_config.json").load()->max_length(), 77);
  const std::string config = R"({"model_max_length": 1000000000000000019884624838656})";
  EXPECT_EQ(Folder("clip").put("tokenizer_config.json", config).load()->max_length(), 77);
  for (const Json& wrong : {Json(2), Json(-1), Json(7.5), Json("77"), Json(Json::array())}) {
    EXPECT_CONTAINS(message_of(Fault::input, [&] { length(wrong); }), "model_max_length");
  }
}

// Its own tables know no upper case either; what it seeks before them does.
TEST(Tokenizer, ReadsInLowerCaseWhereItIsTold) {
  const auto tokenizer = load_tokenizer(kFixtures / "t5");
  const std::vector<int> end = tokenizer->encode("a fox </s>");
  EXPECT_NE(tokenizer->encode("A Fox </S>"), end);
  tokenizer->set_lower_case();
  EXPECT_EQ(tokenizer->encode("A Fox </S>"), end);
  EXPECT_EQ(tokenizer->encode("\u001C A Fox </S>\n"), end);
}

TEST(Tokenizer, ReadsSpecialTokensOfOldAndNewFolders) {
  const Json& clip = expected()["clip"]["ids"];
  const int end = load_tokenizer(kFixtures / "clip")->end_id();
  EXPECT_EQ(load_tokenizer(kFixtures / "clip")->begin_id(), end - 1);
  EXPECT_EQ(load_tokenizer(kFixtures / "clip")->pad_id(), end);
  EXPECT_EQ(load_tokenizer(kFixtures / "clip-sd2")->pad_id(), 0);
  EXPECT_EQ(load_tokenizer(kFixtures / "t5")->begin_id(), -1);
  EXPECT_EQ(load_tokenizer(kFixtures / "t5")->end_id(), 1);
  EXPECT_EQ(load_tokenizer(kFixtures / "t5")->pad_id(), 0);

  const auto strings =
      Folder("clip").patch("special_tokens_map.json", {{"bos_token", "a</w>"}, {"pad_token", "!"}}).load();
  EXPECT_EQ(strings->begin_id(), strings->encode("a").at(0));
  EXPECT_EQ(strings->pad_id(), 0);
  const auto listed = Folder("clip")
                          .put("special_tokens_map.json", R"({"pad_token": "!"})")
                          .patch("tokenizer_config.json", {{"added_tokens_decoder", Json::object()}})
                          .load();
  EXPECT_EQ(listed->pad_id(), end) << "special_tokens_map.json does not count beside added_tokens_decoder";
  const auto none = Folder("clip").drop("special_tokens_map.json").drop("tokenizer_config.json").load();
  EXPECT_EQ(Json(none->encode(expected()["texts"][3].get<std::string>())), clip[3]);
  const auto added = Folder("clip").put("added_tokens.json", R"({"<cat-toy>": 99})").load();
  EXPECT_EQ(added->encode("x<CAT-TOY>").at(1), end + 1) << "new tokens follow the vocabulary, whatever their listed id";
  EXPECT_EQ(added->vocabulary_size(), end + 2);
}

struct Malformed {
  const char* name;
  const char* folder;
  const char* file;
  const char* bytes;  // null: the file is removed
  std::vector<const char*> says;
};

class MalformedTokenizer : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedTokenizer, IsRefusedByFileAndPlace) {
  const Malformed& wrong = GetParam();
  Folder folder(wrong.folder);
  if (wrong.bytes == nullptr) {
    folder.drop(wrong.file);
  } else {
    folder.put(wrong.file, wrong.bytes);
  }
  const std::string message = message_of(Fault::input, [&] { folder.load(); });
  for (const char* part : wrong.says) EXPECT_CONTAINS(message, part);
}

constexpr const char* kTwoTokens = R"({"<|startoftext|>": 0, "<|endoftext|>": 1})";

INSTANTIATE_TEST_SUITE_P(
    Files, MalformedTokenizer,
    testing::Values(
        Malformed{"NoVocabulary", "clip", "vocab.json", nullptr, {"holds no tokenizer", "vocab.json"}},
        Malformed{"NoMerges", "clip", "merges.txt", nullptr, {"holds no tokenizer", "merges.txt"}},
        Malformed{"VocabularyNoJson", "clip", "vocab.json", "{\"a\": 1", {"vocab.json"}},
        Malformed{"VocabularyIsList", "clip", "vocab.json", "[1]", {"vocab.json", "not an object"}},
        Malformed{"VocabularyEmpty", "clip", "vocab.json", "{}", {"vocab.json", "no tokens"}},
        Malformed{"IdTwice", "clip", "vocab.json", "{\"a\": 1, \"b\": 1}", {"vocab.json", "id 1 comes twice", "'b'"}},
        Malformed{"TokenTwice", "clip", "vocab.json", "{\"a\": 1, \"a\": 2}", {"vocab.json", "'a' twice"}},
        Malformed{"VocabularyNested", "clip", "vocab.json", "{\"a\": {\"b\": 1}}", {"vocab.json", "'a'"}},
        Malformed{"VocabularyIsNumber", "clip", "vocab.json", "7", {"vocab.json", "not an object"}},
        Malformed{"VocabularyThenMore", "clip", "vocab.json", "{\"a\": 1} {", {"vocab.json", "byte"}},
        Malformed{"IdNegative", "clip", "vocab.json", "{\"a\": -1}", {"vocab.json", "'a'"}},
        Malformed{"IdFraction", "clip", "vocab.json", "{\"a\": 1.5}", {"vocab.json", "'a'"}},
        Malformed{"IdHuge", "clip", "vocab.json", "{\"a\": 4294967296}", {"vocab.json", "'a'"}},
        Malformed{"IdString", "clip", "vocab.json", "{\"a\": \"1\"}", {"vocab.json", "'a'"}},
        Malformed{"OneWordMerge", "clip", "merges.txt", "#version: 0.2\ni n\nab\n", {"merges.txt, line 3", "'ab'"}},
        Malformed{"ThreeWordMerge", "clip", "merges.txt", "a b c\n", {"merges.txt, line 1", "'a b c'"}},
        Malformed{"EmptyMergeLine", "clip", "merges.txt", "#version: 0.2\n\n", {"merges.txt, line 2"}},
        Malformed{"StrangeMerge", "clip", "merges.txt", "zq qz</w>\n", {"merges.txt, line 1", "'zq'", "vocabulary"}},
        Malformed{
            "VocabularyOfOthers", "clip", "vocab.json", "{\"a\": 0, \"<|startoftext|>\": 1}", {"merges.txt, line 2"}},
        Malformed{"ConfigIsList", "clip", "tokenizer_config.json", "[]", {"tokenizer_config.json"}},
        Malformed{"StrangeClass",
                  "clip",
                  "tokenizer_config.json",
                  "{\"tokenizer_class\": \"LlamaTokenizer\"}",
                  {"tokenizer_config.json", "tokenizer_class", "LlamaTokenizer", "CLIPTokenizer"}},
        Malformed{"T5WithoutModel",
                  "clip",
                  "tokenizer_config.json",
                  "{\"tokenizer_class\": \"T5Tokenizer\"}",
                  {"T5Tokenizer needs", "spiece.model"}},
        Malformed{"EndTokenIsNumber",
                  "clip",
                  "special_tokens_map.json",
                  "{\"eos_token\": 7}",
                  {"special_tokens_map.json", "eos_token"}},
        Malformed{"EndTokenUnknown",
                  "clip",
                  "special_tokens_map.json",
                  "{\"eos_token\": \"</end>\"}",
                  {"eos_token", "'</end>'"}},
        Malformed{"FlagIsString",
                  "clip",
                  "special_tokens_map.json",
                  "{\"eos_token\": {\"content\": \"a\", \"lstrip\": \"no\"}}",
                  {"eos_token", "'lstrip'"}},
        Malformed{"AddedIdIsWord",
                  "clip",
                  "tokenizer_config.json",
                  "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}",
                  {"added_tokens_decoder", "'x'"}},
        Malformed{"JsonNoModel", "clip-json", "tokenizer.json", "{}", {"tokenizer.json", "'model'"}},
        Malformed{"JsonNoMerges",
                  "clip-json",
                  "tokenizer.json",
                  "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}",
                  {"tokenizer.json", "'merges'"}},
        Malformed{"JsonMergeOfThree",
                  "clip-json",
                  "tokenizer.json",
                  "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\", \"b\", \"c\"]]}}",
                  {"tokenizer.json", "merges[0]"}},
        Malformed{"JsonScoreIsString",
                  "t5-json",
                  "tokenizer.json",
                  "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", \"b\"]]}}",
                  {"tokenizer.json", "vocab[0]"}},
        Malformed{
            "JsonBadBase64",
            "t5-json",
            "tokenizer.json",
            "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"b\", 0], [\"c\", 0]]}, \"normalizer\": "
            "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AA*A\"}}",
            {"tokenizer.json", "precompiled_charsmap", "base64"}},
        Malformed{"SpieceEmpty", "t5", "spiece.model", "", {"spiece.model", "no pieces"}},
        Malformed{"SpieceIsText",
                  "t5",
                  "spiece.model",
                  "version https://git-lfs.github.com/spec/v1\n",
                  {"spiece.model", "byte"}},
        Malformed{"ExtraIdsNegative", "t5", "tokenizer_config.json", "{\"extra_ids\": -1}", {"extra_ids"}}),
    [](const auto& info) { return info.param.name; });

TEST(Tokenizer, NeedsTheEndToken) {
  Folder folder("clip");
  folder.put("merges.txt", "#version: 0.2\n").put("vocab.json", R"({"a": 0, "<|startoftext|>": 1})");
  const std::string message = message_of(Fault::input, [&] { folder.load(); });
  EXPECT_CONTAINS(message, "vocab.json");
  EXPECT_CONTAINS(message, "'<|endoftext|>'");
  EXPECT_NO_THROW(folder.put("vocab.json", kTwoTokens).load());
}

TEST(Tokenizer, TakesMergesWithCarriageReturns) {
  std::string merges = contents(kFixtures / "clip" / "merges.txt");
  for (std::size_t at = 0; (at = merges.find('\n', at)) != std::string::npos; at += 2) merges.replace(at, 1, "\r\n");
  const auto tokenizer = Folder("clip").put("merges.txt", merges).load();
  EXPECT_EQ(Json(tokenizer->encode(expected()["texts"][3].get<std::string>())), expected()["clip"]["ids"][3]);
}

}  // namespace
}  // namespace sdgen
