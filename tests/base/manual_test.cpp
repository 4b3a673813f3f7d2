// Help, manual page and completions: that they say all of the table, and that shells can read them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "cli/help.h"
#include "manual_page.h"

namespace sdgen::cli {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// What a command prints; "no SHELL" where there is no such shell.
std::string output_of(const std::string& shell, const std::string& script) {
  if (std::system(("command -v " + shell + " >/dev/null").c_str()) != 0) return "no " + shell;
  FILE* pipe = popen((shell + " " + script + " 2>&1").c_str(), "r");
  std::string text;
  for (int c; (c = fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  pclose(pipe);
  return text;
}

TEST(Help, NamesEveryOptionInLinesThatFit) {
  const std::string brief = help_text(), full = full_help_text();
  for (const OptionRow& row : option_rows()) {
    EXPECT_TRUE(contains(brief, row.name())) << row.name();
    EXPECT_TRUE(contains(brief, std::string(row.section) + ":\n"));
    for (const std::string& flag : row.flags) EXPECT_TRUE(contains(full, flag)) << flag;
  }
  EXPECT_LT(brief.size(), full.size() * 3 / 4);
  for (const std::string& text : {brief, full}) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 108u) << line;
  }
}

TEST(Help, SubcommandsHaveTheirOwn) {
  for (const Subcommand& command : subcommands()) {
    const std::string name(command.name);
    const Options o = parse_command_line({name, "--help", "--no-such"}).options;
    EXPECT_EQ(o.process.action, Action::help);
    const std::string help = help_text(o.process.subcommand);
    EXPECT_TRUE(help.starts_with("sdgen " + name)) << help;
    for (const OptionRow& row : command.rows) EXPECT_TRUE(contains(help, row.name())) << help;
    EXPECT_TRUE(contains(help_text(), "sdgen " + name)) << "the general help does not mention it";
  }
}

TEST(Help, ChoicesAreTakenAndNothingElseIs) {
  for (const OptionRow& row : option_rows()) {
    Options options;
    for (const std::string& word : row.value.words)
      EXPECT_NO_THROW(row.set(options, Argument(row.name(), word))) << word;
    if (row.value.words.empty()) continue;
    EXPECT_CONTAINS(message_of(Fault::usage, [&] { row.set(options, Argument(row.name(), "no-such-word")); }),
                    row.name());
  }
}

TEST(ManualPage, SaysAllAndIsRoff) {
  const std::string page = manual_page();
  for (const char* part : {".TH SDGEN 1", "\\fB\\-\\-guidance\\-scale\\fR", "SDGEN_GUIDANCE_SCALE",
                           ".SS sdgen inspect PATH", "\\fBdpm++2m\\fR", ".B 130, 143"})
    EXPECT_TRUE(contains(page, part)) << part;
  Scratch scratch;
  const std::string file = scratch.write("sdgen.1", page).string();
  const std::string warnings = output_of("groff", "-man -Tutf8 -ww -z " + file);
  EXPECT_TRUE(warnings.empty() || warnings == "no groff") << warnings;
}

struct Completions : testing::Test {
  std::string bash(const std::string& words) {
    const std::string file = scratch_.write("bash", bash_completion()).string();
    return output_of("bash", "-c 'source " + file + "; COMP_WORDS=(sdgen " + words +
                                 "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sdgen; echo \"${COMPREPLY[*]}\"'");
  }
  Scratch scratch_;
};

TEST_F(Completions, OfBash) {
  EXPECT_EQ(bash("--guidance-s"), "--guidance-scale\n");
  EXPECT_EQ(bash("--dtype b"), "bfloat16\n");
  EXPECT_EQ(bash("-p x --scheduler euler-"), "euler-a\n");
  EXPECT_EQ(bash("ins"), "inspect\n");
  EXPECT_EQ(bash("inspect --j"), "--json\n");
  EXPECT_EQ(bash("canny --promp"), "\n");
  EXPECT_EQ(bash("--steps 3"), "\n");  // a number is not guessed
}

TEST_F(Completions, OfZshAndFishCanBeRead) {
  const std::string zsh = scratch_.write("zsh", zsh_completion()).string();
  const std::string given = output_of("zsh", "-n " + zsh);
  EXPECT_TRUE(given.empty() || given == "no zsh") << given;
  const std::string fish = scratch_.write("fish", fish_completion()).string();
  const std::string found = output_of("fish", "-c 'source " + fish + "; complete -C \"sdgen --dtype bf\"'");
  EXPECT_TRUE(found.starts_with("bfloat16\t") || found == "no fish") << found;
}

}  // namespace
}  // namespace sdgen::cli
