// From prompts to the ids that text encoders get, and words that tokenizers learn.
#include "text/prompt_chunks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/scratch.h"

namespace sdgen {
namespace {

const std::filesystem::path kFixtures = std::filesystem::path(SDGEN_FIXTURES) / "tokenizers";

std::unique_ptr<Tokenizer> clip() { return load_tokenizer(kFixtures / "clip"); }

// The ids of a chunk without begin, end and padding.
std::vector<int> inner(const Tokenizer& tokenizer, const PromptChunk& chunk) {
  const auto begin = chunk.ids.begin() + (tokenizer.begin_id() >= 0);
  return {begin, std::find(begin, chunk.ids.end(), tokenizer.end_id())};
}

std::string repeat(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST(PromptChunks, OfOneAreThePlainPrompt) {
  for (const char* folder : {"clip", "clip-sd2", "t5"}) {
    const auto tokenizer = load_tokenizer(kFixtures / folder);
    for (const char* text : {"", "a fox", "a, fox"}) {
      const auto chunks = weighted_chunks(*tokenizer, text);
      ASSERT_EQ(chunks.size(), 1u) << folder;
      EXPECT_EQ(chunks[0].ids, tokenize(*tokenizer, text).ids) << folder;
      EXPECT_EQ(chunks[0].weights, std::vector<float>(chunks[0].ids.size(), 1)) << folder;
    }
  }
}

TEST(PromptChunks, WeighEachToken) {
  const auto tokenizer = clip();
  const PromptChunk chunk = weighted_chunks(*tokenizer, "x (x:1.5) x").at(0);
  ASSERT_EQ(inner(*tokenizer, chunk).size(), 3u);
  EXPECT_EQ(std::vector<float>(chunk.weights.begin(), chunk.weights.begin() + 6),
            (std::vector<float>{1, 1, 1.5, 1, 1, 1}));
}

TEST(PromptChunks, AreFullWithoutCommas) {
  const auto tokenizer = clip();
  const auto sizes = [&](const std::string& prompt) {
    std::vector<std::size_t> result;
    for (const PromptChunk& chunk : weighted_chunks(*tokenizer, prompt))
      result.push_back(inner(*tokenizer, chunk).size());
    return result;
  };
  using Sizes = std::vector<std::size_t>;
  EXPECT_EQ(sizes(repeat("x ", 75)), (Sizes{75}));
  EXPECT_EQ(sizes(repeat("x ", 76)), (Sizes{75, 1}));
  EXPECT_EQ(sizes(repeat("x ", 160)), (Sizes{75, 75, 10}));
  // Back to the last comma, if it is at most 20 ids back: those from its own place on count.
  EXPECT_EQ(sizes(repeat("x ", 54) + "," + repeat("x ", 30)), (Sizes{75, 10}));
  EXPECT_EQ(sizes(repeat("x ", 55) + "," + repeat("x ", 30)), (Sizes{56, 30}));
  EXPECT_EQ(sizes(repeat("x ", 60) + "," + repeat("x ", 5) + "," + repeat("x ", 20)), (Sizes{67, 20}));
  EXPECT_EQ(sizes(repeat("x ", 74) + "," + "x"), (Sizes{75, 1}));
  EXPECT_EQ(sizes(repeat("x ", 75) + ", x"), (Sizes{75, 2}));  // no chunk is closed for a comma alone
  EXPECT_EQ(sizes(repeat("x ", 60) + "," + repeat("x ", 14) + ", x"), (Sizes{75, 2}));
  EXPECT_EQ(sizes("x BREAK x x"), (Sizes{1, 2}));
  EXPECT_EQ(sizes("BREAK x BREAK BREAK"), (Sizes{0, 1, 0}));
  EXPECT_EQ(sizes("BREAK"), (Sizes{0}));
}

TEST(PromptChunks, HaveAnEnd) {
  const auto tokenizer = clip();
  EXPECT_EQ(weighted_chunks(*tokenizer, repeat("fox BREAK ", 4095) + "fox").size(), 4096u);
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { weighted_chunks(*tokenizer, repeat("fox BREAK ", 4096) + "fox"); }),
                  "more than 4096 times");
}

TEST(PromptChunks, TakeTheEncodersOwnLength) {
  const auto tokenizer = load_tokenizer(kFixtures / "t5");
  const auto chunks = weighted_chunks(*tokenizer, repeat("fox ", 200));
  ASSERT_GT(chunks.size(), 1u);
  for (const PromptChunk& chunk : chunks) EXPECT_EQ(int(chunk.ids.size()), tokenizer->max_length());
  EXPECT_EQ(int(inner(*tokenizer, chunks[0]).size()), tokenizer->room());
  EXPECT_EQ(chunks[0].ids.back(), tokenizer->end_id());
}

TEST(LearnedWords, StandForIdsOfTheirOwn) {
  for (const char* folder : {"clip", "clip-json", "t5"}) {
    const auto tokenizer = load_tokenizer(kFixtures / folder);
    const int first = tokenizer->vocabulary_size();
    const std::vector<int> before = tokenizer->encode("a fox");
    ASSERT_TRUE(tokenizer->learn("<Cat-Toy>", 3)) << folder;
    EXPECT_EQ(tokenizer->vocabulary_size(), first + 3);
    EXPECT_EQ(tokenizer->encode("a fox"), before);
    const std::vector<int> ids = tokenizer->encode("a <Cat-Toy>, <Cat-Toy>_2");
    const std::vector<int> own{first, first + 1, first + 2};
    EXPECT_FALSE(std::ranges::search(ids, own).empty()) << folder;
    EXPECT_EQ(ids.back(), first + 2) << "one of its vectors alone";
    EXPECT_FALSE(tokenizer->learn("<Cat-Toy>", 1));
    EXPECT_FALSE(tokenizer->learn("<Cat-Toy>_1", 1));
    EXPECT_TRUE(tokenizer->learn("other thing", 1));
    EXPECT_EQ(tokenizer->vocabulary_size(), first + 4);
    EXPECT_EQ(tokenizer->encode("other thing").back(), first + 3);
  }
}

TEST(LearnedWords, AreNoOldOnes) {
  const auto tokenizer = clip();
  EXPECT_FALSE(tokenizer->learn("x", 1));
  EXPECT_FALSE(tokenizer->learn("<|endoftext|>", 1));
}

TEST(LearnedWords, AreNotCutByChunks) {
  const auto tokenizer = clip();
  tokenizer->learn("<word>", 10);
  const auto size = [&](int before) {
    return inner(*tokenizer, weighted_chunks(*tokenizer, repeat("x ", before) + "<word> x").at(0)).size();
  };
  EXPECT_EQ(size(65), 75u);
  EXPECT_EQ(size(66), 66u);
  EXPECT_EQ(size(74), 74u);
}

struct Cut {
  std::string folder;
  std::string text;
  std::size_t count;
  std::string first;
};

TEST(CutWords, AreTheUsersOwn) {
  const std::string embedded = concat(SDGEN_SOURCE, "/models/default/tokenizer");
  const std::vector<Cut> cases{
      {"clip", "a red fox", 0, ""},
      {"clip", repeat("x ", 75) + "Red  Fox", 2, "Red  Fox"},
      {"clip", repeat("x ", 74) + "supercalifragilistic fox", 2, "supercalifragilistic fox"},  // part of the first fits
      {"clip", repeat("x ", 75) + "one, two (three) four five six", 6, "one, two (three) four"},
      {"clip", repeat("x ", 75) + "红色的苹果", 3, "红色的苹果"},
      {"clip", repeat("x ", 80) + "!!!", 5, "x x x x"},
      {"clip", repeat("x ", 75) + "!!!", 0, ""},                                         // no word
      {embedded, repeat("cat ", 31) + "Zo\u00eb \U0001F98A", 2, "Zo\u00eb \U0001F98A"},  // unknown to its vocabulary
  };
  for (const Cut& row : cases) {
    const CutWords cut = cut_words(*load_tokenizer(kFixtures / row.folder), row.text);
    EXPECT_EQ(cut.count, row.count) << row.text;
    EXPECT_EQ(cut.first, row.first) << row.text;
  }
}

}  // namespace
}  // namespace sdgen
