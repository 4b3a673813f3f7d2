#include "cli/help.h"

#include <algorithm>
#include <sstream>
#include <vector>

#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr Example kExamples[] = {
    {"A picture, of the model that comes with sdgen",
     "sdgen --prompt \"a red apple on a blue background\" -o apple.png"},
    {"Four, of another one",
     "sdgen -m sd15.safetensors -p \"a castle\" -n \"blurry\" --steps 30 -s 7 -b 4 -o \"out/{index:03}-{seed}.png\""},
    {"Of a picture", "sdgen -i sketch.png -p \"a watercolour\" --strength 0.6 -o painted.png"},
    {"Thousands, shared by eight processes, each of which goes on where it was stopped",
     "sdgen --prompts prompts.txt -s 1 --shard 0/8 --skip-existing -o out/"},
    {"Compare values of an option", "sdgen -p \"a fox\" -s 7 --sweep \"steps=10,20,30; guidance_scale=3,7\" -o sweep/"},
    {"A golden set for CI, and whether it is still drawn",
     "sdgen --prompts smoke.txt -s 1 -o golden/; sdgen verify golden/"},
    {"The same picture again, with more steps", "sdgen --from-image apple.png --steps 50 -o again.png"},
};

std::string code(Fault fault) { return std::to_string(static_cast<int>(fault)); }

const ExitCode kExitCodes[] = {
    {"0", "everything that was asked for is written"},
    {"1", "lines of a batch file failed, or pictures are not as expected; each is named"},
    {code(Fault::usage), "wrong usage: an option, a value, a combination"},
    {code(Fault::input), "a model or an input file is missing, malformed or not supported; it is named"},
    {code(Fault::output), "the output cannot be written: full, read-only, exists"},
    {code(Fault::device), "out of memory, the device failed, or the networks gave NaN"},
    {code(Fault::internal), "a bug; please report it"},
    {"130, 143", "interrupted by SIGINT, SIGTERM: the picture under way is dropped, the others are there"},
};

// Appends `text` in lines of at most `width` columns, each beginning at column `indent`; the first one is already
// there.
void wrap(std::string& out, const std::string& text, std::size_t indent, std::size_t width) {
  std::istringstream words(text);
  std::size_t column = indent;
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) out += ' ', ++column;
    out += word;
    column += word.size();
  }
  out += '\n';
}

// "; also --cfg-scale, --scale"
std::string aliases(const OptionRow& row) {
  std::string text;
  for (auto alias = std::ranges::find(row.flags, row.name()) + 1; alias != row.flags.end(); ++alias)
    text += (text.empty() ? "; also " : ", ") + *alias;
  return text;
}

// The options of the rows, in two columns under the headings of their groups.
void append_options(std::string& text, const std::vector<OptionRow>& rows, bool full) {
  constexpr std::size_t indent = 30, width = 100;
  std::string_view group;
  for (const OptionRow& row : rows) {
    if (row.section != group) text += concat("\n", group = row.section, ":\n");
    std::string left = row.name() == row.flags[0] ? "      " : concat("  ", row.flags[0], ", ");
    left += row.name();
    if (!row.is_switch()) left += concat(" ", row.placeholder);
    text += left;
    text += left.size() + 2 <= indent ? std::string(indent - left.size(), ' ') : "\n" + std::string(indent, ' ');
    wrap(text, full ? row.help + aliases(row) : brief(row), indent, width);
  }
}

std::string general_help(bool full) {
  std::string text = "sdgen turns a prompt into a picture with Stable Diffusion.\n\n";
  for (const Example& example : examples()) text += concat("  ", example.what, ":\n    ", example.command, "\n");
  text += "\nOther things that it does:\n";
  for (const Subcommand& command : subcommands()) text += concat("  ", usage(command), " [OPTIONS]\n");
  append_options(text, option_rows(), full);
  text += "\nExit codes:\n";
  for (const ExitCode& code : exit_codes())
    text += concat("  ", code.code, std::string(10 - code.code.size(), ' '), code.meaning, "\n");
  if (!full) text += "\nsdgen --help-all says more about every option, sdgen SUBCOMMAND --help about the others.\n";
  return text;
}

}  // namespace

std::span<const Example> examples() { return kExamples; }
std::span<const ExitCode> exit_codes() { return kExitCodes; }

std::string brief(const OptionRow& row) {
  const std::string_view help = row.help;
  bool quoted = false;
  for (std::size_t i = 0; i < help.size(); ++i) {
    quoted ^= help[i] == '"';
    if (!quoted && (help.substr(i, 2) == "; " || help.substr(i, 2) == " (")) return std::string(help.substr(0, i));
  }
  return std::string(help);
}

std::string help_text(std::string_view subcommand) {
  for (const Subcommand& command : subcommands()) {
    if (command.name != subcommand) continue;
    std::string text = concat(usage(command), " [OPTIONS]\n\n");
    wrap(text, std::string(command.help), 0, 100);
    append_options(text, command.rows, /*full=*/true);
    return text;
  }
  return general_help(/*full=*/false);
}

std::string full_help_text() { return general_help(/*full=*/true); }

}  // namespace sdgen::cli
