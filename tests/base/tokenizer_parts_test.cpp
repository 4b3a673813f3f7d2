// The parts of the tokenizers: Unicode, added tokens, segmentation, SentencePiece files that mean harm.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/scratch.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/charsmap.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/unigram.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = fs::path(SDGEN_FIXTURES) / "tokenizers" / "t5" / "spiece.model";

std::string lower(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) unicode::append_lower(out, c);
  return out;
}

TEST(Unicode, LowersCodePointByCodePoint) {
  EXPECT_EQ(lower(U"ÀΣΑΣẞ"), "àσασß");
  EXPECT_EQ(lower(U"\u0130"), "i\u0307");
  EXPECT_EQ(lower(U"\U0001E900"), "\U0001E922");
}

TEST(Unicode, ComposesByUnicode9) {
  EXPECT_EQ(unicode::compose("e\u0301 q\u0307\u0323"), "é q\u0323\u0307");
  EXPECT_EQ(unicode::compose("\u212B\u2126"), "ÅΩ");
  EXPECT_EQ(unicode::compose("\u1112\u1161\u11AB"), "한");
  // U+0898 and U+0899 (classes 230 and 220) came with Unicode 14: they keep their order.
  EXPECT_EQ(unicode::compose("x\u0898\u0899"), "x\u0898\u0899");
  EXPECT_EQ(unicode::compose(""), "");
}

TEST(Unicode, FindsClusters) {
  const std::string text = "ae\u0301\r\n👩‍👧x";
  std::vector<std::string> clusters;
  std::size_t begin = 0;
  for (const std::size_t end : unicode::cluster_ends(text)) {
    clusters.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(clusters, (std::vector<std::string>{"a", "e\u0301", "\r\n", "👩‍👧", "x"}));
  EXPECT_TRUE(unicode::cluster_ends("").empty());
}

// Texts in quotes, ids of tokens between them.
std::string cut(const AddedTokens& tokens, std::string_view text) {
  std::string out;
  tokens.split(
      text, [&](std::string_view piece) { out.append("'").append(piece).append("'"); },
      [&](int id) { out += concat('<', id, '>'); });
  return out;
}

std::string shout(std::string_view text) {  // a normalizer
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

TEST(AddedTokens, PreferTheLongestThatBeginsFirst) {
  const AddedTokens tokens({{.content = "ab", .normalized = false, .id = 1},
                            {.content = "abc", .normalized = false, .id = 2},
                            {.content = "bcd", .normalized = false, .id = 3}},
                           shout);
  EXPECT_EQ(cut(tokens, "xabcd abd bcd"), "'X'<2>'D '<1>'D '<3>");
  EXPECT_EQ(cut(tokens, ""), "");
}

TEST(AddedTokens, AreSoughtInRawOrNormalizedText) {
  const AddedTokens tokens({{.content = "Raw", .normalized = false, .id = 1}, {.content = "Any", .id = 2}}, shout);
  EXPECT_EQ(cut(tokens, "raw Raw aNy"), "'RAW '<1>' '<2>");
}

TEST(AddedTokens, StripWhiteSpaceAndKeepWordsWhole) {
  const AddedTokens tokens({{.content = "l", .lstrip = true, .normalized = false, .id = 1},
                            {.content = "r", .rstrip = true, .normalized = false, .id = 2},
                            {.content = "w", .single_word = true, .normalized = false, .id = 3}},
                           shout);
  EXPECT_EQ(cut(tokens, "a \u3000l b"), "'A'<1>' B'");
  EXPECT_EQ(cut(tokens, "a r \t l"), "'A '<2><1>");
  EXPECT_EQ(cut(tokens, "w ww w_ w\u0301 -w"), "<3>' WW W_ W\u0301 -'<3>");
}

TEST(AddedTokens, CanSkipSpecialOnes) {
  const std::vector<AddedToken> tokens = {{.content = "S", .normalized = false, .special = true, .id = 1},
                                          {.content = "T", .normalized = false, .id = 2}};
  EXPECT_EQ(cut(AddedTokens(tokens, shout, true), "ST"), "'S'<2>");
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const Vocabulary vocabulary = {{"a", 0}, {"b", 1}, {"b</w>", 2}, {"aa", 3}, {"ab</w>", 4}, {"aaab</w>", 5}};
  BpeRules rules;
  rules.end_of_word = "</w>";
  rules.unknown_id = 9;
  const auto encode = [&](std::vector<Bpe::Merge> merges, std::string_view word) {
    std::vector<int> ids;
    Bpe(vocabulary, merges, rules).encode(word, ids);
    return ids;
  };
  EXPECT_EQ(encode({{0, 0, 3}, {0, 2, 4}, {3, 4, 5}}, "aaab"), (std::vector<int>{5}));
  EXPECT_EQ(encode({{0, 2, 4}, {0, 0, 3}}, "aab"), (std::vector<int>{0, 4}));
  EXPECT_EQ(encode({{0, 0, 3}}, "aaab"), (std::vector<int>{3, 0, 2}));
  EXPECT_EQ(encode({}, "xay"), (std::vector<int>{9, 0, 9}));
  EXPECT_EQ(encode({{0, 0, 3}}, ""), (std::vector<int>{}));
}

TEST(Bpe, DropsUnknownCharactersWithoutAToken) {
  std::vector<int> ids;
  Bpe({{"a", 0}}, {}, {}).encode("aéa", ids);
  EXPECT_EQ(ids, (std::vector<int>{0, 0}));
}

TEST(Unigram, FindsTheMostProbableSegmentation) {
  const Unigram model({{"<unk>", 0}, {"a", -1}, {"b", -1}, {"ab", -1.5}, {"abc", -5}, {"c", -2}}, 0);
  const auto encode = [&](std::string_view word) {
    std::vector<int> ids;
    model.encode(word, ids);
    return ids;
  };
  EXPECT_EQ(encode("abc"), (std::vector<int>{3, 5}));
  EXPECT_EQ(encode("xyab日本z"), (std::vector<int>{0, 3, 0}));
  EXPECT_EQ(encode(""), (std::vector<int>{}));
  EXPECT_EQ(encode("<unk>"), (std::vector<int>{0}));
}

TEST(Unigram, SumsInDoublePrecision) {
  // "x" then "n" "nn" or "nn" "n": equal sums, -14.99, in double precision, so the one found first stays. In float32,
  // as the SentencePiece library adds, the second seems greater: -14.990001 against -14.99.
  const float x = -5.06f, n = -6.04f, nn = -3.89f;
  ASSERT_GT(x + nn + n, x + n + nn);
  const Unigram model({{"<unk>", 0}, {"x", x}, {"n", n}, {"nn", nn}}, 0);
  std::vector<int> ids;
  model.encode("xnnn", ids);
  EXPECT_EQ(ids, (std::vector<int>{1, 2, 3}));
}

TEST(Charsmap, RefusesSizesThatDoNotFit) {
  const auto refusal = [](std::string_view bytes) {
    return message_of(Fault::input, [&] { Charsmap(bytes, "x.model"); });
  };
  using namespace std::string_view_literals;
  EXPECT_CONTAINS(refusal("ab"), "2 bytes");
  EXPECT_CONTAINS(refusal("\x08\0\0\0abcd"sv), "8 bytes, but 4 follow");
  EXPECT_CONTAINS(refusal("\x03\0\0\0abc"sv), "3 bytes");
  EXPECT_CONTAINS(refusal("\xFC\xFF\xFF\xFF"sv), "4294967292");
  EXPECT_CONTAINS(refusal("\x04\0\0\0\0\0\0\0\xFF"sv), "UTF-8");
  EXPECT_EQ(Charsmap("", "x.model").normalize("Á"), "Á");
}

// tokenizers' answers. The rule of the first letter replaces all of a cluster of five bytes, and itself alone in a
// longer one.
TEST(Charsmap, LooksUpClustersOfUpToFiveBytes) {
  const Charsmap charsmap(read_sentencepiece_model(kModel).charsmap, "");
  EXPECT_EQ(charsmap.normalize("\uFF21\u0301"), "a");
  EXPECT_EQ(charsmap.normalize("\uFF21\u0301\u0301"), "a\u0301\u0301");
}

TEST(Charsmap, SurvivesWildTries) {
  std::uint32_t state = 1;
  for (int round = 0; round < 200; ++round) {
    std::string bytes("\x00\x04\x00\x00", 4);  // 1024 bytes
    for (int i = 0; i < 1024; ++i) bytes += static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    bytes += std::string("a\0\u00e9\0", 5);
    EXPECT_NO_THROW(Charsmap(bytes, "x.model").normalize("abc Áe\u0301 字😀 xyz"));
  }
}

TEST(SentencePieceModel, ReadsPiecesTypesAndRules) {
  const SentencePieceModel model = read_sentencepiece_model(kModel);
  ASSERT_GT(model.pieces.size(), 100u);
  EXPECT_EQ(model.pieces[0].text, "<pad>");
  EXPECT_EQ(model.pieces[1].type, SentencePieceModel::Type::control);
  EXPECT_EQ(model.pieces[2].type, SentencePieceModel::Type::unknown);
  EXPECT_LT(model.pieces[100].score, 0);
  EXPECT_EQ(Charsmap(model.charsmap, "").normalize("ＡBe\u0301…"), "abé...");
}

std::string piece(std::string_view text, std::string_view rest = "") {
  std::string body("\x0A");
  body += static_cast<char>(text.size());
  body.append(text).append(rest);
  std::string field("\x0A");
  field += static_cast<char>(body.size());
  return field + body;
}

TEST(SentencePieceModel, RefusesBadPieces) {
  const auto refusal = [](const std::string& bytes) {
    return message_of(Fault::input, [&] { parse_sentencepiece_model(bytes, "x.model"); });
  };
  using namespace std::string_literals;
  EXPECT_CONTAINS(refusal(piece("")), "piece 0");
  EXPECT_CONTAINS(refusal(piece("a") + piece("a")), "piece 1 'a' comes a second time");
  EXPECT_CONTAINS(refusal(piece("\xC3")), "not UTF-8");
  EXPECT_CONTAINS(refusal(piece("a\0b"s)), "NUL");
  EXPECT_CONTAINS(refusal(piece("a", "\x15\x00\x00\xC0\x7F"s)), "finite");  // score NaN
  EXPECT_CONTAINS(refusal(piece("a", "\x18\x09"s)), "unknown value 9");     // type
  EXPECT_CONTAINS(refusal("\x0A\x7F"s + "abc"), "127 bytes where 3 are left");
  EXPECT_CONTAINS(refusal("\x0A" + std::string(11, '\xFF')), "more than ten bytes");
  EXPECT_CONTAINS(refusal("\x0B"s), "wire type 3");
  EXPECT_CONTAINS(refusal("\x12\x02\x18\x07"s), "of type 7");  // trainer_spec.model_type
  EXPECT_CONTAINS(refusal("\x12\x02\x18\x02"s), "unigram");    // BPE: Llama's
  EXPECT_CONTAINS(refusal(""), "no pieces");
  // 2,100 bytes in one piece: length 2103 of the field, 2100 of the text, as varints
  EXPECT_CONTAINS(refusal("\x0A\xB7\x10\x0A\xB4\x10"s + std::string(2100, 'a')), "a text of 2100 bytes");
}

TEST(SentencePieceModel, RefusesFilesThatAreTooLong) {
  const Scratch scratch;
  scratch.write("spiece.model", "");
  fs::resize_file(scratch / "spiece.model", (16u << 20) + 1);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { load_tokenizer(scratch.folder()); }), "spiece.model");
}

// Whatever a damaged file says, it is an Error or a tokenizer that works.
TEST(SentencePieceModel, SurvivesDamage) {
  const std::string bytes = contents(kModel);
  const Scratch scratch;
  scratch.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 0})");
  const auto attempt = [&](const std::string& damaged) {
    scratch.write("spiece.model", damaged);
    try {
      load_tokenizer(scratch.folder())->encode("A photo of an Ångström e\u0301 ｆｕｌｌ 字😀 </s>");
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << error.what();
    }
  };
  for (std::size_t size = 0; size < bytes.size(); size += 41) attempt(bytes.substr(0, size));
  std::uint32_t state = 7;
  const auto random = [&state] { return (state = state * 1664525 + 1013904223) >> 8; };
  for (int round = 0; round < 300; ++round) {
    std::string damaged = bytes;
    for (std::uint32_t i = 0; i <= random() % 4; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    attempt(damaged);
  }
}

}  // namespace
}  // namespace sdgen
