// The parts of the tokenizers: Unicode, added tokens, segmentation, SentencePiece files that mean harm.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/scratch.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

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

// As Python's str.lower() and str.strip() do.
TEST(Unicode, LowersTextsByTheirContext) {
  EXPECT_EQ(unicode::lower("Ein ROTES Haus"), "ein rotes haus");
  EXPECT_EQ(unicode::lower("ΟΔΟΣ ΣΑΣ Σ ΑΣ̈ ΑΣ.Β"), "οδος σας σ ας̈ ασ.β");
  EXPECT_EQ(unicode::lower("\u0130stanbul ẞ \u01C5"), "i\u0307stanbul ß \u01C6");
  EXPECT_NE(message_of(Fault::usage, [] { unicode::lower("a\xFF"); }).find("byte 1 of 2"), std::string::npos);
}

TEST(Unicode, StripsWhiteSpace) {
  EXPECT_EQ(unicode::stripped("\u001C \u3000a  b\n\u0085\u00A0"), "a  b");
  EXPECT_EQ(unicode::stripped("\u200Ba\u200B"), "\u200Ba\u200B") << "no white space";
  EXPECT_EQ(unicode::stripped(" \t "), "");
  EXPECT_EQ(unicode::stripped(""), "");
}

TEST(Unicode, ComposesByUnicode9) {
  EXPECT_EQ(unicode::compose("e\u0301 q\u0307\u0323"), "é q\u0323\u0307");
  EXPECT_EQ(unicode::compose("\u212B\u2126"), "ÅΩ");
  EXPECT_EQ(unicode::compose("\u1112\u1161\u11AB"), "한");
  // U+0898 and U+0899 (classes 230 and 220) came with Unicode 14: they keep their order.
  EXPECT_EQ(unicode::compose("x\u0898\u0899"), "x\u0898\u0899");
  EXPECT_EQ(unicode::compose(""), "");
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

// A unigram model of a few pieces and no rules, from a tokenizer.json.
std::vector<int> segment(const std::string& pieces, const std::string& text) {
  const Scratch scratch;
  scratch.write(
      "tokenizer.json",
      R"({"model": {"type": "Unigram", "vocab": [["<pad>", 0], ["</s>", 0], ["<unk>", 0], )" + pieces + "]}}");
  return load_tokenizer(scratch.folder())->encode(text);
}

TEST(Unigram, FindsTheMostProbableSegmentation) {
  const std::string pieces = R"(["▁", -1], ["a", -1], ["b", -1], ["ab", -1.5], ["abc", -5], ["c", -2])";
  EXPECT_EQ(segment(pieces, "abc"), (std::vector<int>{3, 6, 8}));
  EXPECT_EQ(segment(pieces, "xyab日本z  a</s>"), (std::vector<int>{3, 2, 6, 2, 3, 4, 1}));
  EXPECT_EQ(segment(pieces, ""), (std::vector<int>{}));
}

TEST(Unigram, KeepsTheFirstOfEqualSegmentations) {
  // "x" then "n" "nn" or "nn" "n": equal sums, of which the one found first stays. Added in float32, the second seems
  // greater.
  const float x = -5.06f, n = -6.04f, nn = -3.89f;
  ASSERT_GT(x + nn + n, x + n + nn);
  EXPECT_EQ(segment(R"(["▁x", -5.06], ["n", -6.04], ["nn", -3.89])", "xnnn"), (std::vector<int>{3, 4, 5}));
}

std::string with_rules(const std::string& charsmap) {
  return model_for_library({.pieces = {{.text = "a"}}, .charsmap = charsmap}, 0, "x.model");
}

// A trie of 512 units, in which `bits` are set and no others are ever stepped on; then the replacements "a" and "é".
std::string trie(const std::map<std::size_t, std::uint32_t>& bits) {
  std::string bytes("\0\x08\0\0", 4);
  for (std::size_t at = 0; at < 512; ++at) {
    const auto found = bits.find(at);
    for (int shift = 0; shift < 32; shift += 8)
      bytes += static_cast<char>((found == bits.end() ? ~at & 0xFF : found->second) >> shift);
  }
  return bytes + std::string("a\0\u00e9\0", 5);
}

TEST(ModelForLibrary, RefusesRulesThatLeadOutside) {
  const auto refusal = [](const std::string& bytes) { return message_of(Fault::input, [&] { with_rules(bytes); }); };
  using namespace std::string_literals;
  EXPECT_CONTAINS(refusal("ab"), "2 bytes");
  EXPECT_CONTAINS(refusal("\x08\0\0\0abcd"s), "8 bytes, but 4 follow");
  EXPECT_CONTAINS(refusal("\x03\0\0\0abcd"s), "3 bytes");
  EXPECT_CONTAINS(refusal("\xFC\xFF\xFF\xFF"s), "4294967292");
  EXPECT_CONTAINS(refusal(trie({}) + "\xFF"), "UTF-8");
  EXPECT_CONTAINS(refusal(trie({}) + "b"), "no end");
  // Offsets are bits 10 to 30; with bit 9 they count in 256; bit 8: a value stands there.
  const std::uint32_t there = 256u << 10, outside = 512u << 10, leaf = 1u << 8, value = 1u << 31;
  EXPECT_NO_THROW(with_rules(trie({{0, there}, {256 + 'a', 'a' | leaf | 1u << 10}, {(256 + 'a') ^ 1, value | 2}})));
  EXPECT_CONTAINS(refusal(trie({{0, outside}})), "unit 0");
  EXPECT_CONTAINS(refusal(trie({{0, value | outside}})), "unit 0");
  EXPECT_CONTAINS(refusal(trie({{0, there}, {256 + 'a', 'a' | outside}})), "unit 353");
  EXPECT_CONTAINS(refusal(trie({{0, there}, {256 + 'a', 'a' | 2u << 10 | 1u << 9}})), "unit 353");
  EXPECT_CONTAINS(refusal(trie({{256 + 'a', 'a' | leaf | 1u << 10}, {(256 + 'a') ^ 1, value | 5}})), "replacement");
  EXPECT_CONTAINS(refusal(trie({{256 + 'a', 'a' | leaf | 1u << 10}, {(256 + 'a') ^ 1, value | 3}})), "replacement");
  // 'a' leads to itself: "aaaa..." is a rule of every length
  EXPECT_CONTAINS(refusal(trie({{0, there}, {256 + 'a', 'a' | std::uint32_t{'a'} << 10}})), "more than 32 bytes");
}

TEST(SentencePieceModel, ReadsPiecesTypesAndRules) {
  const SentencePieceModel model = read_sentencepiece_model(kModel);
  ASSERT_GT(model.pieces.size(), 100u);
  EXPECT_EQ(model.pieces[0].text, "<pad>");
  EXPECT_EQ(model.pieces[1].type, SentencePieceModel::Type::control);
  EXPECT_EQ(model.pieces[2].type, SentencePieceModel::Type::unknown);
  EXPECT_LT(model.pieces[100].score, 0);
  EXPECT_GT(model.charsmap.size(), 1000u);
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
    return message_of(Fault::input,
                      [&] { model_for_library(parse_sentencepiece_model(bytes, "x.model"), 0, "x.model"); });
  };
  using namespace std::string_literals;
  EXPECT_CONTAINS(refusal(piece("")), "piece 0");
  EXPECT_CONTAINS(refusal(piece("a") + piece("a")), "piece 1 'a' comes a second time");
  EXPECT_CONTAINS(refusal(piece("\xC3")), "not UTF-8");
  EXPECT_CONTAINS(refusal(piece("a\0b"s)), "NUL");
  EXPECT_CONTAINS(refusal(piece("a", "\x15\x00\x00\xC0\x7F"s)), "score of nan");
  EXPECT_CONTAINS(refusal(piece("a", "\x15\x00\x00\x80\xFF"s)), "score of -inf");
  EXPECT_CONTAINS(refusal(piece("a", "\x18\x09"s)), "unknown value 9");  // type
  EXPECT_CONTAINS(refusal("\x0A\x7F"s + "abc"), "127 bytes where 3 are left");
  EXPECT_CONTAINS(refusal("\x0A" + std::string(11, '\xFF')), "more than ten bytes");
  EXPECT_CONTAINS(refusal("\x0B"s), "wire type 3");
  EXPECT_CONTAINS(refusal("\x12\x02\x18\x07"s), "of type 7");  // trainer_spec.model_type
  EXPECT_CONTAINS(refusal("\x12\x02\x18\x02"s), "unigram");    // BPE: Llama's
  EXPECT_CONTAINS(refusal(""), "no pieces");
  // 2,100 bytes in one piece: length 2103 of the field, 2100 of the text, as varints
  EXPECT_CONTAINS(refusal("\x0A\xB7\x10\x0A\xB4\x10"s + std::string(2100, 'a')), "a text of 2100 bytes");
}

// A model that has one of the pieces <extra_id_N> is read as transformers reads it: the later one counts.
TEST(SentencePieceModel, ExtraIdsComeAfterItsPieces) {
  const Scratch scratch;
  scratch.write("spiece.model", piece("<pad>") + piece("</s>") + piece("<unk>") + piece("<extra_id_0>"));
  scratch.write("tokenizer_config.json", R"({"extra_ids": 2})");
  EXPECT_EQ(load_tokenizer(scratch.folder())->encode("<extra_id_0><extra_id_1>"), (std::vector<int>{5, 4}));
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
