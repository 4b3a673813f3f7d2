// Weighted prompts and textual inversions as a user meets them.
#include <gtest/gtest.h>

#include "base/tables.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

class PromptProgram : public ProgramWithModel {
 protected:
  // One picture of a prompt; its bytes.
  std::string draw(const std::string& prompt, std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"-m", model(), "-p",          prompt, "-s",           "7",
                                      "-o", "x.png", "--overwrite", "-q",   "--no-metadata"};
    more.insert(more.end(), {"--steps", "4", "--scheduler", "ddim"});
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return contents(folder_ / "x.png");
  }
  std::string weighted(const std::string& prompt) { return draw(prompt, {"--prompt-syntax", "weighted"}); }
  Outcome refuse(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"-m", model(), "-s", "7", "--steps", "2", "-o", "never.png"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
  Scratch scratch_;
};

TEST_F(PromptProgram, WithoutBracketsBothSyntaxesAreOne) { EXPECT_TRUE(weighted("a red fox") == draw("a red fox")); }

TEST_F(PromptProgram, EachPartOfTheGrammarMatters) {
  const std::string plain = weighted("a red fox");
  for (const char* prompt : {"a (red:1.5) fox", "a [red] fox", "a red BREAK fox", "a red fox AND snow",
                             "a [red:blue:1] fox", "a [red|blue] fox"})
    EXPECT_FALSE(weighted(prompt) == plain) << prompt;
  EXPECT_TRUE(weighted("a [red:blue:0.9] fox") == plain) << "3 of 4 steps, and one more";
  EXPECT_TRUE(weighted("a [red:blue:-1] fox") == weighted("a blue fox"));
  EXPECT_TRUE(weighted("a red fox AND snow :0") == plain);
}

TEST_F(PromptProgram, PlainPromptsSayWhatIsCut) {
  std::string prompt;
  for (int i = 0; i < 80; ++i) prompt += "x ";
  const Outcome outcome = run({"-m", model(), "-p", prompt + "snow", "--steps", "1", "-s", "7", "-o", "x.png"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(contains(outcome.err, "these words are cut: \"x x x x x ")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "snow\"")) << outcome.err;
}

TEST_F(PromptProgram, WhatCannotBeReadIsAUsageError) {
  for (const auto& [prompt, message] :
       {std::pair{"(a:1.2.3)", "'1.2.3' is not a number"}, {"a [(b:..):c:0.5]", "'..' is not a number"}}) {
    const Outcome outcome = refuse({"-p", prompt, "--prompt-syntax", "weighted"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
  }
  Outcome outcome = refuse({"-p", std::string(100'000, '('), "--prompt-syntax", "weighted"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "nested more than 100 deep")) << outcome.err;
  outcome = refuse({"-p", "a AND b", "--prompt-syntax", "weighted", "-g", "1"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "guidance scale of 1 or less")) << outcome.err;
  EXPECT_EQ(refuse({"-p", "a", "--prompt-syntax", "fancy"}).exit_code, 2);
  EXPECT_TRUE(files().empty());
}

constexpr std::int64_t kWidth = 32;  // of tiny-sd's text encoder

TEST_F(PromptProgram, WordsAreLearnedAndRecorded) {
  const std::string file = write_table(scratch_, "my-style.safetensors", {{"emb_params", {3, kWidth}}}).string();
  const std::string plain = draw("a my-style fox");
  EXPECT_FALSE(draw("a my-style fox", {"--textual-inversion", file}) == plain);
  EXPECT_TRUE(draw("a my-style fox", {"--textual-inversion", file + ":other"}) == plain);
  Outcome outcome = run({"-m", model(), "-p", "a my-style fox", "--steps", "1", "-s", "7", "-o", "y.png",
                         "--textual-inversion", file, "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(contents(folder_ / "y.png"), "TI hashes: \"my-style: "));
  EXPECT_TRUE(contains(outcome.out, "\"word\":\"my-style\"")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "\"vectors\":3")) << outcome.out;

  outcome = run({"-m", model(), "-p", "a fox", "--steps", "1", "-s", "7", "-o", "z.png", "--textual-inversion", file});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(contains(outcome.err, "no prompt has the word 'my-style'")) << outcome.err;
  EXPECT_FALSE(contains(contents(folder_ / "z.png"), "TI hashes"));
}

TEST_F(PromptProgram, TheFileNamesItsWord) {
  const std::string file = write_table(scratch_, "learned.safetensors", {{"<cat-toy>", {kWidth}}}).string();
  // As the recipe for pickles converts AUTOMATIC1111's.
  const std::string converted = write_table(scratch_, "my-toy.safetensors", {{"*", {1, kWidth}}}).string();
  const Outcome outcome = run({"-m", model(), "-p", "a <cat-toy> my-toy", "--steps", "1", "-s", "7", "-o", "x.png",
                               "--textual-inversion", file, "--textual-inversion", converted, "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "\"word\":\"<cat-toy>\"")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "\"word\":\"my-toy\"")) << outcome.out;
}

TEST_F(PromptProgram, MisfitsAreNamed) {
  const auto file = [&](const std::string& name, const Shapes& shapes) {
    return write_table(scratch_, name, shapes).string();
  };
  struct Case {
    std::string file;
    int exit_code;
    std::vector<std::string> parts;
  };
  const Case cases[] = {
      {file("wide.safetensors", {{"emb_params", {2, 768}}}), 3, {"wide.safetensors", "[2,768]", "32", "family"}},
      {file("xl.safetensors", {{"clip_l", {1, 768}}, {"clip_g", {1, 1280}}}), 3, {"xl.safetensors", "SDXL"}},
      {file("deep.safetensors", {{"a", {2, 2, kWidth}}}), 3, {"deep.safetensors", "[2,2,32]"}},
      {file("many.safetensors", {{"a", {1, kWidth}}, {"b", {1, kWidth}}}), 3, {"many.safetensors", "emb_params"}},
      {file("long.safetensors", {{"emb_params", {76, kWidth}}}), 3, {"long.safetensors", "76", "75"}},
      {file("x.safetensors", {{"emb_params", {1, kWidth}}}), 2, {"x.safetensors", "'x'", "PATH:WORD"}},
      {scratch_.write("old.pt", "PK\x03\x04").string(), 3, {"old.pt", "pickle", "string_to_param"}},
      {(scratch_ / "missing.safetensors").string(), 3, {"missing.safetensors"}},
  };
  for (const Case& c : cases) {
    const Outcome outcome = refuse({"-p", "a fox", "--textual-inversion", c.file});
    EXPECT_EQ(outcome.exit_code, c.exit_code) << c.file << outcome.err;
    for (const std::string& part : c.parts) EXPECT_TRUE(contains(outcome.err, part)) << outcome.err;
  }
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace sdgen::test
