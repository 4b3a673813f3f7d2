#include "manual_page.h"

#include <algorithm>
#include <vector>

#include "cli/defaults.h"
#include "cli/help.h"
#include "io/text.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// --- The manual page

// Text of roff: no line begins a request, and every "-" is one that can be copied.
std::string roff(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\')
      result += "\\e";
    else if (c == '-')
      result += "\\-";
    else if ((c == '.' || c == '\'') && (result.empty() || result.back() == '\n'))
      result += "\\&", result += c;
    else
      result += c;
  }
  return result;
}

void append_roff_options(std::string& page, const std::vector<OptionRow>& rows) {
  for (const OptionRow& row : rows) {
    page += ".TP\n";
    for (std::size_t i = 0; i < row.flags.size(); ++i)
      page += concat(i > 0 ? ", " : "", "\\fB", roff(row.flags[i]), "\\fR");
    if (!row.is_switch()) page += concat(" \\fI", roff(row.placeholder), "\\fR");
    page += concat("\n", roff(row.help), ".\n");
    if (const std::string variable = variable_of(row); !variable.empty())
      page += concat("Environment: ", roff(variable), ".\n");
  }
}

// --- Completions

std::vector<std::string> long_flags(const std::vector<OptionRow>& rows) {
  std::vector<std::string> flags;
  for (const OptionRow& row : rows)
    for (const std::string& flag : row.flags)
      if (flag.starts_with("--")) flags.push_back(flag);
  return flags;
}

std::string names_of(const std::vector<Subcommand>& commands) {
  std::vector<std::string> names;
  for (const Subcommand& command : commands) names.emplace_back(command.name);
  return joined(names, " ");
}

// All rows, of the subcommands too, each flag once.
std::vector<OptionRow> all_rows() {
  std::vector<OptionRow> rows = option_rows();
  for (const Subcommand& command : subcommands())
    for (const OptionRow& row : command.rows)
      if (!find(rows, row.name())) rows.push_back(row);
  return rows;
}

// Within single quotes of a shell; `special` characters get a backslash.
std::string single_quoted(std::string_view text, std::string_view special = "") {
  std::string result = "'";
  for (const char c : text) {
    if (special.find(c) != special.npos) result += '\\';
    result += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return result + "'";
}

// How a shell completes a value.
struct Completed {
  std::string files, folders, words, other;
};
std::string completed(const OptionRow& row, const Completed& how) {
  if (row.is_switch()) return "";
  if (row.value.kind == Value::Kind::path) return how.files;
  if (row.value.kind == Value::Kind::folder) return how.folders;
  return row.value.words.empty() ? how.other : how.words;
}

// Lines of zsh's _arguments for the rows.
std::string zsh_arguments(const std::vector<OptionRow>& rows, std::string_view indent) {
  std::string text;
  for (const OptionRow& row : rows) {
    const std::string value = ":" + row.placeholder;
    const std::string action = completed(
        row, {value + ":_files", value + ":_files -/", value + ":(" + joined(row.value.words, " ") + ")", value + ": "});
    for (const std::string& flag : row.flags)
      text += concat(" \\\n", indent,
                     single_quoted(concat(row.repeatable ? "*" : "(" + joined(row.flags, " ") + ")", flag, "[")),
                     single_quoted(brief(row), "[]:\\"), single_quoted(concat("]", action)));
  }
  return text;
}

}  // namespace

std::string manual_page() {
  std::string page = ".TH SDGEN 1 \"\" \"sdgen " SDGEN_VERSION
                     "\" \"User Commands\"\n.SH NAME\nsdgen \\- turn a prompt into a picture with Stable Diffusion\n"
                     ".SH SYNOPSIS\n.B sdgen\n\\-\\-prompt \\fITEXT\\fR [\\fIOPTIONS\\fR]\n";
  for (const Subcommand& command : subcommands())
    page += concat(".br\n.B sdgen\n", roff(usage(command).substr(6)), " [\\fIOPTIONS\\fR]\n");
  page +=
      ".SH DESCRIPTION\nsdgen loads Stable Diffusion weights (1.x, 2.x, SDXL) and makes the very pictures that "
      "diffusers makes of the same seed. Paths of finished pictures go to stdout, everything else to stderr.\n";
  std::string_view group;
  std::vector<OptionRow> rows;
  const auto end_group = [&] {
    if (!rows.empty()) page += concat(".SH ", roff(group), " OPTIONS\n");
    append_roff_options(page, rows);
    rows.clear();
  };
  for (const OptionRow& row : option_rows()) {
    if (row.section != group) end_group();
    group = row.section;
    rows.push_back(row);
  }
  end_group();
  page += ".SH SUBCOMMANDS\n";
  for (const Subcommand& command : subcommands()) {
    page += concat(".SS ", roff(usage(command)), "\n", roff(command.help), "\n");
    append_roff_options(page, command.rows);
  }
  page += ".SH SCHEDULERS\n";
  for (const SchedulerInfo& s : scheduler_infos())
    page += concat(".TP\n\\fB", roff(s.name), "\\fR\n", roff(s.diffusers_class), ", for ", roff(s.models), ": ",
                   roff(s.summary), ".\n");
  page += ".SH EXIT STATUS\n";
  for (const ExitCode& code : exit_codes())
    page += concat(".TP\n.B ", roff(code.code), "\n", roff(code.meaning), ".\n");
  page +=
      ".SH ENVIRONMENT\n.TP\n.B SDGEN_MODEL\nthe model where \\-\\-model is not given.\n.TP\n.B SDGEN_DATA\nthe folder "
      "that has the embedded model as default/.\n.PP\nThe other variables stand beside their options.\n"
      ".SH EXAMPLES\n";
  for (const Example& example : examples())
    page += concat(".TP\n", roff(example.what), ":\n", roff(example.command), "\n");
  return page;
}

std::string bash_completion() {
  const std::vector<Subcommand> commands = subcommands();
  std::string text =
      "# bash completion for sdgen, made from its table of options\n"
      "_sdgen() {\n  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words\n  COMPREPLY=()\n"
      "  case $prev in\n";
  for (const OptionRow& row : all_rows()) {
    const std::string flags = joined(row.flags, " | ");
    const auto line = [&](const std::string& what) { return concat("    ", flags, ") ", what, "return ;;\n"); };
    text += completed(row, {line("compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); "),
                            line("compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); "),
                            line(concat("mapfile -t COMPREPLY < <(compgen -W \"", joined(row.value.words, " "),
                                        "\" -- \"$cur\"); ")),
                            line("")});
  }
  text += "  esac\n  case ${COMP_WORDS[1]} in\n";
  for (const Subcommand& command : commands)
    text += concat("    ", command.name, ") words=\"", joined(long_flags(command.rows), " "), "\" ;;\n");
  text += concat("    *) words=\"", joined(long_flags(option_rows()), " "), "\" ;;\n  esac\n");
  text += concat("  ((COMP_CWORD > 1)) || words+=\" ", names_of(commands), "\"\n");
  text +=
      "  if [[ $cur == -* ]] || ((COMP_CWORD == 1)); then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
      "  else\n    compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n  fi\n}\n"
      "complete -F _sdgen sdgen\n";
  return text;
}

std::string zsh_completion() {
  std::string text = "#compdef sdgen\n# zsh completion for sdgen, made from its table of options\n\n_sdgen() {\n";
  text += "  case ${words[2]} in\n";
  for (const Subcommand& command : subcommands())
    text += concat("    ", command.name, ")\n      shift words; ((CURRENT--))\n      _arguments",
                   zsh_arguments(command.rows, "        "), " \\\n        '*:file:_files' ;;\n");
  text += concat("    *)\n      _arguments", zsh_arguments(option_rows(), "        "),
                 " \\\n        '1:subcommand:(", names_of(subcommands()), ")' ;;\n  esac\n}\n\n_sdgen \"$@\"\n");
  return text;
}

std::string fish_completion() {
  const std::vector<Subcommand> commands = subcommands();
  std::string text = "# fish completion for sdgen, made from its table of options\ncomplete -c sdgen -f\n";
  const auto add = [&text](const std::string& condition, const OptionRow& row) {
    for (const std::string& flag : row.flags) {
      text += concat("complete -c sdgen -n ", single_quoted(condition), flag.starts_with("--") ? " -l " : " -s ",
                     flag.substr(flag.starts_with("--") ? 2 : 1), " -d ", single_quoted(brief(row), "\\"));
      text += completed(row, {" -r -F", " -x -a '(__fish_complete_directories)'",
                              " -x -a " + single_quoted(joined(row.value.words, " ")), " -x"});
      text += '\n';
    }
  };
  for (const OptionRow& row : option_rows())
    add(concat("not __fish_seen_subcommand_from ", names_of(commands)), row);
  for (const Subcommand& command : commands) {
    text += concat("complete -c sdgen -n __fish_use_subcommand -a ", command.name, " -d ",
                   single_quoted(command.help.substr(0, command.help.find_first_of(":.")), "\\"), "\n");
    text += concat("complete -c sdgen -n '__fish_seen_subcommand_from ", command.name, "' -F\n");
    for (const OptionRow& row : command.rows) add(concat("__fish_seen_subcommand_from ", command.name), row);
  }
  return text;
}

}  // namespace sdgen::cli
