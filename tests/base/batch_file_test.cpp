#include "cli/batch_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/scratch.h"

namespace sdgen::cli {
namespace {

struct BatchFiles : testing::Test {
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(scratch_ / name, std::ios::binary) << text;
    return (scratch_ / name).string();
  }
  // Every line's options; what is wrong with a line, as {"error", message}.
  std::vector<Settings> read(BatchFile& file) {
    std::vector<Settings> lines;
    while (true) {
      try {
        const auto line = file.next();
        if (!line) return lines;
        lines.push_back(line->options);
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::usage);
        lines.push_back({{"error", error.what()}});
      }
    }
  }
  std::vector<Settings> read(const std::string& name, const std::string& text) {
    BatchFile file(write(name, text));
    return read(file);
  }
  Scratch scratch_;
};

TEST_F(BatchFiles, TextHasAPromptALineAndOptionsBehindIt) {
  const auto lines = read("a.txt",
                          "\xEF\xBB\xBFone fox\r\n"
                          "\n"
                          "  # a comment\n"
                          "a fox -- in -the- snow --seed 7 --steps=30 --no-metadata\n"
                          "two --negative-prompt \"bad \\\"art\\\" --x\" --seed 8\n"
                          "--seed 9\n"
                          "last");
  const std::vector<Settings> expected = {
      {{"--prompt", "one fox"}},
      {{"--prompt", "a fox -- in -the- snow"}, {"--seed", "7"}, {"--steps", "30"}, {"--no-metadata", ""}},
      {{"--prompt", "two"}, {"--negative-prompt", "bad \"art\" --x"}, {"--seed", "8"}},
      {{"--seed", "9"}},
      {{"--prompt", "last"}},
  };
  EXPECT_EQ(lines, expected);
}

TEST_F(BatchFiles, TextIsTextOrRefusedWhole) {
  const std::vector<Settings> two = {{{"--prompt", "a red apple"}}, {{"--prompt", "a panda"}}};
  EXPECT_EQ(read("utf16.txt", std::string("\xFF\xFE"
                                          "a\0 \0r\0e\0d\0 \0a\0p\0p\0l\0e\0\r\0\n\0"
                                          "a\0 \0p\0a\0n\0d\0a\0\r\0\n\0",
                                          42)),
            two);
  EXPECT_EQ(read("mac.txt", "a red apple\ra panda\r"), two);
  EXPECT_EQ(read("t.csv", "\xEF\xBB\xBFprompt,seed\ra red apple,\ra panda,\r"), two);
  const auto refusal = [&](const std::string& name, const std::string& text) {
    return message_of(Fault::input, [&] {
      BatchFile file(write(name, text));
      file.next();
    });
  };
  // What is wrong in the last line is known before the first picture.
  EXPECT_CONTAINS(
      message_of(Fault::input, [&] { BatchFile(write("a.txt", "a fox\n" + std::string(2'000'000, 'x') + '\0')); }),
      "NUL");
  EXPECT_CONTAINS(refusal("a.txt", "\x89PNG\r\n\x1A\n"), "is a PNG picture");
  EXPECT_CONTAINS(refusal("a.txt", "\n<!DOCTYPE html>\n<html>"), "page of HTML");
  EXPECT_CONTAINS(refusal("a.txt", "[\n{\"prompt\": \"a fox\"}\n]"), ".json");
}

TEST_F(BatchFiles, AListOfJson) {
  const auto lines = read("a.json", R"([{"prompt": "a fox", "seed": 7}, "a dog --steps 3", 5, {"no_metadata": true}])");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], (Settings{{"--prompt", "a fox"}, {"--seed", "7"}}));
  EXPECT_EQ(lines[1], (Settings{{"--prompt", "a dog --steps 3"}})) << "a text is a prompt as it is";
  EXPECT_CONTAINS(lines[2].front().value, "a.json:3: expected an object or a text, found number");
  EXPECT_EQ(lines[3], (Settings{{"--no-metadata", ""}}));
  EXPECT_CONTAINS(message_of(Fault::input, [&] { BatchFile(write("b.json", R"({"prompt": "a fox"})")); }), ".jsonl");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { BatchFile(write("c.json", "a fox")); }), "c.json");
}

// Objects a line, whatever the file is called; choices begin like them.
TEST_F(BatchFiles, TheFirstLineTellsWhatATextIs) {
  EXPECT_EQ(read("a.txt", "{\"prompt\": \"a fox\"}\n{\"seed\": 3}\n"),
            (std::vector<Settings>{{{"--prompt", "a fox"}}, {{"--seed", "3"}}}));
  EXPECT_EQ(read("b.txt", "{a|b} fox\n{\"seed\": 3}\n"),
            (std::vector<Settings>{{{"--prompt", "{a|b} fox"}}, {{"--prompt", "{\"seed\": 3}"}}}));
}

TEST_F(BatchFiles, AWrongLineNamesItselfAndFailsAlone) {
  const auto lines = read("a.txt", "one\ntwo --seed 7 extra\nthree --negative-prompt \"open\nfour\n");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_CONTAINS(lines[1][0].value, "a.txt:2: 'extra'");
  EXPECT_CONTAINS(lines[2][0].value, "a.txt:3");
  EXPECT_EQ(lines[3], (Settings{{"--prompt", "four"}}));
}

TEST_F(BatchFiles, JsonLines) {
  const auto lines = read(
      "a.jsonl", R"({"prompt": "a \"fox\"", "guidance_scale": 7.5, "seed": 18446744073709551615, "steps": 30})"
                 "\n\n"
                 R"({"prompt": "b", "negative_prompt": null, "no_metadata": true, "json": false, "lora": ["x", "y"]})"
                 "\n[1]\n{\"a\": 1, \"a\": 2}\n{\"prompt\": {}}\n{\"prompt\": \"c\"}");
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0], (Settings{{"--guidance-scale", "7.5"},
                                {"--prompt", "a \"fox\""},
                                {"--seed", "18446744073709551615"},
                                {"--steps", "30"}}));
  EXPECT_EQ(lines[1], (Settings{{"--lora", "x"}, {"--lora", "y"}, {"--no-metadata", ""}, {"--prompt", "b"}}));
  EXPECT_CONTAINS(lines[2][0].value, "a.jsonl:4: expected a JSON object");
  EXPECT_CONTAINS(lines[3][0].value, "a.jsonl:5");
  EXPECT_CONTAINS(lines[4][0].value, "a.jsonl:6: key 'prompt'");
  EXPECT_EQ(lines[5], (Settings{{"--prompt", "c"}}));
}

TEST_F(BatchFiles, CsvWithQuotedCells) {
  BatchFile file(write("a.csv",
                       "Seed,prompt,Negative_Prompt,note\n"
                       "1,\"a, \"\"b\"\"\nand c\",,x\n"
                       "2,say \"hi\" now,\"\",\n"
                       "\n"
                       "3,a,b,c,d\n"
                       "4,d\n"));
  file.set_known([](const std::string& name) { return name != "--note"; });
  const auto lines = read(file);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], (Settings{{"--seed", "1"}, {"--prompt", "a, \"b\"\nand c"}}));
  EXPECT_EQ(lines[1], (Settings{{"--seed", "2"}, {"--prompt", "say \"hi\" now"}}));
  EXPECT_CONTAINS(lines[2][0].value, "a.csv:6: 5 cells, but the header has 4");
  EXPECT_EQ(lines[3], (Settings{{"--seed", "4"}, {"--prompt", "d"}}));
  EXPECT_EQ(file.unused_columns(), std::vector<std::string>{"note"});
}

// PartiPrompts has plain quotes, MLPerf's captions quote the cells that hold some.
TEST_F(BatchFiles, TsvWithQuotesOfBothKinds) {
  const auto lines = read("a.tsv",
                          "id\tcaption\n"
                          "1\t\"Quoted \"\"twice\"\".\"\n"
                          "2\t\"A sign\" that says so\n"
                          "3\tplain, \"inside\"\n"
                          "4\t\"open\n");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0][1].value, "Quoted \"twice\".");
  EXPECT_EQ(lines[1][1].value, "\"A sign\" that says so");
  EXPECT_EQ(lines[2][1].value, "plain, \"inside\"");
  EXPECT_EQ(lines[3][1].value, "\"open");
}

TEST_F(BatchFiles, ATableWithoutPromptsIsNoTableOfPrompts) {
  BatchFile file(write("a.csv", "id,text\n1,a\n"));
  EXPECT_CONTAINS(message_of(Fault::input, [&] { file.next(); }), "'prompt'");
  EXPECT_CONTAINS(message_of(Fault::input, [] { BatchFile("/nonexistent/x.txt"); }), "No such file");
}

TEST_F(BatchFiles, APipeIsReadAsItComes) {
  const std::string path = (scratch_ / "pipe").string();
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int writer = open(path.c_str(), O_RDWR);
  BatchFile file(path);
  EXPECT_FALSE(file.ready());
  ASSERT_EQ(::write(writer, "one\ntw", 6), 6);
  EXPECT_TRUE(file.ready());
  EXPECT_EQ(file.next()->options, (Settings{{"--prompt", "one"}}));
  EXPECT_FALSE(file.ready());
  ASSERT_EQ(::write(writer, "o\n", 2), 2);
  close(writer);
  EXPECT_EQ(file.next()->options, (Settings{{"--prompt", "two"}}));
  EXPECT_TRUE(file.ready());
  EXPECT_FALSE(file.next());
}

TEST_F(BatchFiles, LongLinesFailAlone) {
  const auto lines = read("a.txt", std::string(LineReader::kMostBytes + 100000, 'x') + "\nshort\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_CONTAINS(lines[0][0].value, "a.txt:1: line is longer than 4 MiB");
  EXPECT_EQ(lines[1], (Settings{{"--prompt", "short"}}));
}

TEST_F(BatchFiles, AnEmptyValueIsAValue) {
  EXPECT_EQ(parse_text_line("a fox --negative-prompt \"\" --steps 3"),
            (Settings{{"--prompt", "a fox"}, {"--negative-prompt", ""}, {"--steps", "3"}}));
}

// Nothing below a header that cannot be read makes sense: there is no line to go on after.
TEST_F(BatchFiles, ATableWithoutAHeaderEnds) {
  for (const char* text : {"", "\"prompt\nabc\n"}) {
    BatchFile file(write("t.csv", text));
    try {
      file.next();
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << error.what();
    }
  }
}

TEST_F(BatchFiles, AQuotationThatDoesNotEndFailsAlone) {
  BatchFile file(write("t.csv", "prompt,seed\n\"a fox,1\na dog,2\n\"a cat\nand a \"\"mouse\"\"\",3\n\"a\nb\"x,4\n"));
  const auto lines = read(file);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], (Settings{{"--prompt", "\"a fox"}, {"--seed", "1"}}));  // a plain quote: no cell ends there
  EXPECT_EQ(lines[1], (Settings{{"--prompt", "a dog"}, {"--seed", "2"}}));
  EXPECT_EQ(lines[2], (Settings{{"--prompt", "a cat\nand a \"mouse\""}, {"--seed", "3"}}));
  EXPECT_EQ(lines[3], (Settings{{"--prompt", "\"a"}}));
  EXPECT_EQ(lines[4], (Settings{{"--prompt", "b\"x"}, {"--seed", "4"}}));
  BatchFile open(write("u.csv", "prompt,seed\n\"a fox,1\na dog,2\n"));
  const auto rest = read(open);
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_CONTAINS(rest[0][0].value, "u.csv:2: a quotation begins in this line and does not end");
  EXPECT_EQ(rest[1], (Settings{{"--prompt", "a dog"}, {"--seed", "2"}}));
}

}  // namespace
}  // namespace sdgen::cli
