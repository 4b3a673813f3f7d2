// --help, from the table of options.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/options.h"

namespace sdgen::cli {

// A line or two an option, and examples. Of a subcommand, or ("") of the making of pictures.
std::string help_text(std::string_view subcommand = "");
// The same with all that is to say about the options (--help-all).
std::string full_help_text();

// What the manual page (tools/manual_page.cpp) takes from here.
struct Example {
  const char* what;
  const char* command;
};
std::span<const Example> examples();
struct ExitCode {
  std::string code;
  const char* meaning;
};
std::span<const ExitCode> exit_codes();
// The main clause of an option's help: what comes before the first remark outside of quotes.
std::string brief(const OptionRow& row);

}  // namespace sdgen::cli
