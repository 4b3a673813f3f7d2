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
  EXPECT_TRUE(contains(outcome.err,
                       "warning: a prompt is 8 tokens too long for the model's 77; its last 6 words are cut, "
                       "from \"x x x x\" on (weighted prompts may be of any length)\n"))
      << outcome.err;
}

// A model that comes with a list of what it knows.
class UnknownWords : public PromptProgram {
 protected:
  void SetUp() override {
    PromptProgram::SetUp();
    fs::copy(model(), scratch_ / "model", fs::copy_options::recursive);
    scratch_.write("model/sdgen.json", R"({"steps": 1, "known_words": "known.json"})");
    scratch_.write("model/known.json", R"({"things": [["hut"], ["tall tower"]], "empty": ["a", "and"]})");
  }
  // The warnings of a run that ends well.
  std::vector<std::string> warnings(std::vector<std::string> words) {
    words.insert(words.begin(), {"-m", (scratch_ / "model").string(), "-s", "7", "--overwrite", "-o", "{index}.png"});
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    std::vector<std::string> found;
    std::istringstream err(outcome.err);
    for (std::string line; std::getline(err, line);)
      if (const std::string begin = "sdgen: warning: "; line.starts_with(begin))
        found.push_back(line.substr(begin.size()));
    return found;
  }
  std::vector<std::string> of_lines(const std::string& lines) {
    return warnings({"--prompts", scratch_.write("lines.txt", lines).string()});
  }
  using Lines = std::vector<std::string>;
};

TEST_F(UnknownWords, AreToldOncePerPrompt) {
  EXPECT_EQ(warnings({"-p", "a hut"}), Lines{});
  EXPECT_EQ(warnings({"-p", "huts and a Tall Tower"}), Lines{});
  EXPECT_EQ(warnings({"-p", ""}), Lines{});
  EXPECT_EQ(warnings({"-p", "a hut and a lighthouse"}),
            Lines{"the model model does not know \"lighthouse\" of \"a hut and a lighthouse\""});
  EXPECT_EQ(warnings({"-p", "a towers", "-b", "3"}),
            Lines{"the model model knows nothing of \"a towers\" and draws something else; it knows 2 things, such as "
                  "tall tower; for others "
                  "bring a model of your own, for example: sdgen -m v1-5-pruned-emaonly.safetensors"});
  EXPECT_EQ(warnings({"-p", "a lighthouse", "-q"}), Lines{});
  EXPECT_EQ(warnings({"-p", "a hut", "-n", "a lighthouse"}), Lines{});
}

TEST_F(UnknownWords, AreThoseThatAreDrawn) {
  EXPECT_EQ(warnings({"-p", "a (hut:1.2) BREAK [a|lighthouse] [hut:(([elm])):0.5] AND oak :0.3", "--prompt-syntax",
                      "weighted", "--steps", "4"}),
            Lines{"the model model does not know \"lighthouse\", \"elm\", \"oak\" of \"a (hut:1.2) BREAK "
                  "[a|lighthouse] [hut:(([elm])):0.5] AND oak..."
                  "\""});
  EXPECT_EQ(warnings({"-p", "a tall (tower:1.2)", "--prompt-syntax", "weighted"}), Lines{});
}

TEST_F(UnknownWords, OfManyPromptsAreCounted) {
  const std::string three = "a hut\nhut elm\nhut oak\nhut fir\nhut elm\n";
  const Lines told{"the model model does not know \"elm\" of \"hut elm\"",
                   "the model model does not know \"oak\" of \"hut oak\"",
                   "the model model does not know \"fir\" of \"hut fir\""};
  EXPECT_EQ(of_lines(three), told);
  Lines counted = told;
  counted.push_back("1 more prompt has words, too, that the model model does not know");
  EXPECT_EQ(of_lines(three + "hut ash\nhut oak\nhut ash\n"), counted);
  counted.back() = "2 more prompts have words, too, that the model model does not know";
  EXPECT_EQ(of_lines(three + "hut ash\nhut\nhut yew\n"), counted);
}

// What is added to a model, or takes a part's place, may bring words that its list lacks.
TEST_F(UnknownWords, AreNotOfAModelThatLearnedOthers) {
  const std::string file = write_table(scratch_, "elm.safetensors", {{"emb_params", {1, 32}}}).string();
  EXPECT_EQ(warnings({"-p", "an elm", "--textual-inversion", file}), Lines{});
  EXPECT_EQ(warnings({"-p", "an elm", "--unet", (scratch_ / "model/unet").string()}), Lines{});
  const std::string lora = write_table(scratch_, "lora.safetensors",
                                       {{"lora_unet_conv_in.lora_down.weight", {2, 4, 3, 3}},
                                        {"lora_unet_conv_in.lora_up.weight", {8, 2, 1, 1}}})
                               .string();
  const Lines said = warnings({"-p", "an elm"}), with_lora = warnings({"-p", "an elm", "--lora", lora});
  EXPECT_NE(said, Lines{});
  EXPECT_EQ(with_lora, Lines{});
}

TEST_F(UnknownWords, ThatAreNotListedWellAreAnError) {
  for (const auto& [json, message] : std::vector<std::pair<std::string, std::string>>{
           {R"({"known_words": "../known.json"})", "the name of a file in the same folder"},
           {R"({"known_words": ""})", "the name of a file in the same folder"},
           {R"({"known_words": 1})", "known_words"},
           {R"({"known_words": "none.json"})", "none.json"},
           {R"({"known_words": "model_index.json"})", "model_index.json: things"}}) {
    scratch_.write("model/sdgen.json", json);
    const Outcome outcome = run({"-m", (scratch_ / "model").string(), "-p", "a", "-o", "never.png"});
    EXPECT_EQ(outcome.exit_code, 3) << json;
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
  }
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
