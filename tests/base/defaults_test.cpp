// Configuration files and the environment: what holds where the command line says nothing.
#include "cli/defaults.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/scratch.h"
#include "cli/command_line.h"

namespace sdgen::cli {
namespace {

struct DefaultsTest : testing::Test {
  ~DefaultsTest() override {
    for (const std::string& name : set_) unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    set_.push_back(name);
  }
  std::string config(const std::string& text) { return scratch_.write("sdgen.toml", text).string(); }
  Options parse(std::vector<std::string> words) {
    words.insert(words.end(), {"-p", "x"});
    command_ = parse_command_line(words);
    return command_.options;
  }
  std::string error(const std::string& text) {
    return message_of(Fault::input, [&] { read_config(config(text), rows_); });
  }
  Scratch scratch_;
  std::vector<std::string> set_;
  CommandLine command_;  // the last one
  std::vector<OptionRow> rows_ = option_rows();
};

TEST_F(DefaultsTest, AFileSaysWhatTheCommandLineDoesNot) {
  const Options options = parse({"--config",
                                 config("# a comment\n"
                                        "steps = 30 # another\n"
                                        "guidance-scale = 7.5\n"
                                        "negative_prompt = \"a # \\\"b\\\"\\n\\u72d0\"\n"
                                        "lora = [\"a.safetensors:0.5\",\n  'b.safetensors']\n"
                                        "quiet = true\noverwrite = false\nseed = 9_000\n"),
                                 "--steps", "5"});
  EXPECT_EQ(options.request.steps, 5);
  EXPECT_EQ(options.request.guidance_scale, 7.5);
  EXPECT_EQ(options.request.negative_prompt, "a # \"b\"\n狐");
  EXPECT_EQ(options.request.loras.size(), 2u);
  EXPECT_EQ(options.request.seed, 9000u);
  EXPECT_TRUE(options.output.quiet);
  EXPECT_FALSE(options.output.existing);
  EXPECT_EQ(command_.given.size(), 3u);  // what lines of batch files do not override
}

TEST_F(DefaultsTest, TextsKeepEveryCharacter) {
  const auto prompt = [this](const std::string& value) {
    const Settings settings = read_config(config("prompt = " + value + "\n"), rows_);
    return settings.empty() ? "none" : settings[0].value;
  };
  EXPECT_EQ(prompt("\"é|狐🦊 # |c3|a9 |--\"  # é"), "é|狐🦊 # |c3|a9 |--");
  EXPECT_EQ(prompt("'é|狐🦊 \\u00e9 \\u007ce9'"), "é|狐🦊 \\u00e9 \\u007ce9");
  EXPECT_EQ(prompt("\"\"\"a\\\n  é\\\n\\\n 狐\"\"\""), "aé狐");  // letters after a continued line
  EXPECT_EQ(prompt("'''\né|'''"), "é|");
  for (const char* bar : {"\\u007c", "\\u007C", "\\U0000007c", "\\U0000007C"})
    EXPECT_EQ(prompt("\"" + std::string(bar) + "e9" + bar + "--\""), "|e9|--");
  EXPECT_EQ(prompt("\"\\\\u007ce9\""), "\\u007ce9");  // an escaped backslash, then no escape
  EXPECT_EQ(read_config(config("\xEF\xBB\xBFseed = 0x007c\n"), rows_), (Settings{{"--seed", "124"}}));
  EXPECT_CONTAINS(error("\"é|\" = 1\n"), "unknown option --é|");
}

TEST_F(DefaultsTest, WhatIsWrongInAFileIsNamedWithItsLine) {
  EXPECT_CONTAINS(error("seed = 1\nstesp = 3\n"), "sdgen.toml:2: unknown option --stesp; did you mean --steps?");
  EXPECT_CONTAINS(error("\nsteps = 0\n"), "sdgen.toml:2: --steps: '0' is not a whole number");
  EXPECT_CONTAINS(error("steps = [1, 2]\n"), "sdgen.toml:1: --steps: expected one value, found a list");
  EXPECT_CONTAINS(error("quiet = 1\n"), "--quiet: expected true or false");
  EXPECT_CONTAINS(error("steps = true\n"), "--steps: expected a text or a number");
  EXPECT_CONTAINS(error("lora = [[1]]\n"), "--lora: expected a list of texts or numbers");
  EXPECT_CONTAINS(error("[picture]\nsteps = 3\n"), "unknown option --picture");
  EXPECT_CONTAINS(error("prompt = a fox\n"), "sdgen.toml:1: no TOML: ");
  EXPECT_CONTAINS(error("steps = 3\nsteps = 4\n"), "sdgen.toml:2: no TOML: ");
  EXPECT_CONTAINS(error("cfg_scale = 3\nguidance_scale = 4\n"), "--guidance-scale is there under two names");
  EXPECT_CONTAINS(error("config = 'b.toml'\n"), "--config has no place in a configuration file");
  EXPECT_CONTAINS(error("help = true\n"), "--help has no place");
  EXPECT_CONTAINS(error("prompt = \"\xff\"\n"), "no TOML: ");
  for (const char* name : {"\u00e9", "a\u00e9", "a = 1\u00e9", "\u1680", "a = \u3000"})
    EXPECT_CONTAINS(error(name), "no TOML: ");
  EXPECT_CONTAINS(error("x = " + std::string(100'000, '[')), "no TOML: ");
  for (const char* name : {"[=", "[ ", "[[=", "[a.=", "[!]", "[\x01"}) EXPECT_CONTAINS(error(name), "no TOML: ");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_config((scratch_ / "absent.toml").string(), rows_); }),
                  "absent.toml: ");
}

TEST_F(DefaultsTest, TheEnvironmentSaysWhatTheFileDoesNot) {
  set("SDGEN_STEPS", "11");
  set("SDGEN_GUIDANCE_SCALE", "2");
  set("SDGEN_DEVICE", "cpu");
  set("SDGEN_STRICT", "1");
  set("SDGEN_WIDTH", "");
  set("SDGEN_PROMPT", "not taken from there");
  set("SDGEN_OUTPUT", "nor.png");
  set("SDGEN_CONFIG", config("steps = 22\n"));
  const Options options = parse({});
  EXPECT_EQ(options.request.steps, 22);
  EXPECT_EQ(options.request.guidance_scale, 2);
  EXPECT_EQ(options.load.device, "cpu");
  EXPECT_TRUE(options.load.strict);
  EXPECT_FALSE(options.request.width.has_value());
  EXPECT_EQ(options.request.prompt, "x");
  EXPECT_FALSE(options.output.path.has_value());
}

TEST_F(DefaultsTest, SwitchesOfTheEnvironmentAreOnAndOff) {
  for (const auto& [value, on] : {std::pair{"1", true}, {"true", true}, {"0", false}, {"false", false}, {"", false}}) {
    set("SDGEN_STRICT", value);
    EXPECT_EQ(parse({}).load.strict, on) << value;
  }
}

TEST_F(DefaultsTest, WhatIsWrongInTheEnvironmentIsNamed) {
  const auto error = [this](const std::string& name, const std::string& value) -> std::string {
    set(name, value);
    std::string what = "accepted";
    try {
      parse({});
    } catch (const Error& error) {
      what = error.what();
    }
    unsetenv(name.c_str());
    return what;
  };
  EXPECT_CONTAINS(error("SDGEN_STEPS", "many"), "SDGEN_STEPS: 'many' is not a whole number");
  EXPECT_CONTAINS(error("SDGEN_STRICT", "maybe"), "SDGEN_STRICT: 'maybe' is not one of 0, 1, false, true");
  set("SDGEN_STESP", "3");
  parse({});
  ASSERT_EQ(command_.warnings.size(), 1u);
  EXPECT_CONTAINS(command_.warnings[0], "SDGEN_STESP is not an option; did you mean SDGEN_STEPS?");
}

TEST_F(DefaultsTest, LinesOfABatchComeBeforeBoth) {
  set("SDGEN_STEPS", "11");
  const CommandLine command = parse_command_line({"--prompts", "a.txt", "--config", config("eta = 0.5\n")});
  EXPECT_TRUE(command.given.size() == 2 && !has(command.given, "--steps"));
  EXPECT_EQ(command.defaults, (Settings{{"--steps", "11"}, {"--eta", "0.5"}}));
}

}  // namespace
}  // namespace sdgen::cli
