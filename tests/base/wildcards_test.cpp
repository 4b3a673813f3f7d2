// Prompts that choose: the language, and that a seed chooses the same everywhere.
#include "cli/wildcards.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/scratch.h"

namespace sdgen::cli {
namespace {

struct WildcardsTest : testing::Test {
  std::string choose(const std::string& prompt, std::uint64_t seed = 1, std::uint64_t stream = 0) {
    return Wildcards(scratch_.folder()).choose(prompt, seed, stream);
  }
  // What 2000 seeds choose, and how often.
  std::map<std::string, int> chosen(const std::string& prompt) {
    Wildcards wildcards(scratch_.folder());
    std::map<std::string, int> counts;
    for (std::uint64_t seed = 0; seed < 2000; ++seed) ++counts[wildcards.choose(prompt, seed, 0)];
    return counts;
  }
  std::string error(const std::string& prompt) {
    try {
      return "chose " + choose(prompt);
    } catch (const Error& error) {
      return error.what();
    }
  }
  Scratch scratch_;
};

TEST_F(WildcardsTest, PlainPromptsStayAsTheyAre) {
  for (const char* prompt :
       {"", "a fox", "snake_case and __ and _x_", "a__b c__d", "(fox:1.2) [a|b] <lora:x:1>", "\\(x\\)"})
    EXPECT_EQ(choose(prompt), prompt);
}

TEST_F(WildcardsTest, EverySeedHasItsOwnWords) {
  // Fixed for ever: pictures are named and made again by their seeds.
  std::string words;
  for (std::uint64_t seed : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u}) words += choose("{a|b|c|d|e|f|g|h}", seed);
  EXPECT_EQ(words, "dagfgghe");
  EXPECT_NE(choose("{a|b|c|d|e|f|g|h}{a|b|c|d|e|f|g|h}", 1, 0), choose("{a|b|c|d|e|f|g|h}{a|b|c|d|e|f|g|h}", 1, 1));
}

TEST_F(WildcardsTest, PartsAreChosenAlike) {
  const auto counts = chosen("{red|green||{dark|light} blue} fox");
  ASSERT_EQ(counts.size(), 5u);
  EXPECT_NEAR(counts.at("red fox"), 500, 80);
  EXPECT_NEAR(counts.at(" fox"), 500, 80);
  EXPECT_NEAR(counts.at("dark blue fox"), 250, 60);
}

TEST_F(WildcardsTest, WeightsSayHowOften) {
  const auto counts = chosen("{3::a|b|0::c|a::d}");
  EXPECT_EQ(counts.count("c"), 0u);
  EXPECT_NEAR(counts.at("a"), 1200, 100);
  EXPECT_NEAR(counts.at("b"), 400, 80);
  EXPECT_NEAR(counts.at("a::d"), 400, 80);  // what is not a number is text
  EXPECT_EQ(chosen("{0::a|0::b}").size(), 2u);
}

TEST_F(WildcardsTest, SeveralPartsAreTakenWithoutRepeatingOne) {
  EXPECT_EQ(chosen("{2$$a|b|c}").size(), 6u);
  for (const auto& [words, count] : chosen("{2$$a|b|c}")) EXPECT_NE(words[0], words[3]) << words;
  EXPECT_EQ(chosen("{2$$ and $$a|b}"), (std::map<std::string, int>{{"a and b", chosen("{2$$ and $$a|b}")["a and b"]},
                                                                   {"b and a", chosen("{2$$ and $$a|b}")["b and a"]}}));
  std::set<std::size_t> sizes;
  for (const auto& [words, count] : chosen("{1-2$$,$$a|b|c}")) sizes.insert(words.size());
  EXPECT_EQ(sizes, (std::set<std::size_t>{1, 3}));
  EXPECT_EQ(chosen("{-$$a|b}").size(), 5u);  // none, a, b, both in two orders
  EXPECT_EQ(chosen("{9$$a|b}").size(), 2u);  // both: there are no more
}

TEST_F(WildcardsTest, ListsComeFromFiles) {
  std::filesystem::create_directories(scratch_ / "animals");
  scratch_.write("animals/cats.txt", "\xEF\xBB\xBFtiger\r\n# not this\n\n  {old|young} lion \n");
  scratch_.write("animals/dogs.txt", "wolf");
  scratch_.write("places.txt", "__animals/dogs__ den");
  EXPECT_EQ(choose("a __animals/dogs__!"), "a wolf!");
  EXPECT_EQ(choose("__places__"), "wolf den");
  std::set<std::string> words;
  for (const auto& [word, count] : chosen("__animals/*__")) words.insert(word);
  EXPECT_EQ(words, (std::set<std::string>{"tiger", "old lion", "young lion", "wolf"}));
}

TEST_F(WildcardsTest, EscapedCharactersAreText) {
  EXPECT_EQ(choose("\\{a\\|b\\} {x\\|y} \\__places__"), "{a|b} x|y __places__");
}

TEST_F(WildcardsTest, WhatIsWrongIsNamed) {
  scratch_.write("places.txt", "beach");
  scratch_.write("round.txt", "__round__");
  scratch_.write("empty.txt", "# nothing\n");
  scratch_.write("latin.txt", "caf\xE9\n");
  EXPECT_CONTAINS(error("a {b|c"), "'{b|c': this { has no }; \\{ is a plain one");
  EXPECT_CONTAINS(error("a b} c"), "'a b}': this } has no {");
  EXPECT_CONTAINS(error("__place__"), "has no list place.txt; did you mean places?");
  EXPECT_CONTAINS(error("__../places__"), "has no list");
  EXPECT_CONTAINS(error("__round__"), "nested deeper than 32: does a list of --wildcards name itself?");
  EXPECT_CONTAINS(error("__empty__"), "empty.txt: no line to choose");
  EXPECT_CONTAINS(error("__latin__"), "latin.txt: 'caf\\xe9' is not UTF-8 text");
  EXPECT_CONTAINS(error("{x$$a|b}"), "'{x$$': before $$ comes how many parts are taken");
  EXPECT_CONTAINS(error("{3-1$$a|b}"), "the first number is larger");
  EXPECT_CONTAINS(error("{1$$a$$b$$c}"), "has more than two $$");
  EXPECT_CONTAINS(error(std::string(40, '{') + std::string(40, '}')), "nested deeper");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { Wildcards(scratch_ / "absent"); }), "absent");
}

TEST_F(WildcardsTest, GrowthIsBounded) {
  scratch_.write("z0.txt", std::string(1000, 'x'));
  for (int i = 1; i < 12; ++i) {
    const std::string inner = "__z" + std::to_string(i - 1) + "__";
    scratch_.write("z" + std::to_string(i) + ".txt", inner + inner + inner + inner);
  }
  EXPECT_CONTAINS(error("__z11__"), "what is chosen is longer than 1024 KiB");
}

TEST_F(WildcardsTest, WorkIsBounded) {
  scratch_.write("y0.txt", "{}");
  for (int i = 1; i < 30; ++i) {
    const std::string inner = "__y" + std::to_string(i - 1) + "__";
    scratch_.write("y" + std::to_string(i) + ".txt", inner + inner);
  }
  EXPECT_CONTAINS(error("__y29__"), "more than 10000 choices in a prompt");
  EXPECT_CONTAINS(error("{5000$$" + std::string(300'000, '|') + "}"), "more than 10000 parts between braces");
  std::filesystem::create_directory(scratch_ / "f");
  for (const char* link : {"f/a", "f/b", "f/c"})
    std::filesystem::create_directory_symlink(scratch_.folder(), scratch_ / link);
  EXPECT_CONTAINS(error("__absent__"), "has no list absent.txt");
}

TEST(WildcardsChoose, IsSeenFromOutside) {
  EXPECT_TRUE(Wildcards::chooses("a {b|c}"));
  EXPECT_TRUE(Wildcards::chooses("a __b__"));
  EXPECT_FALSE(Wildcards::chooses("a [b|c] {d} __ __"));
}

}  // namespace
}  // namespace sdgen::cli
