// What there is to read about the options, all of it from their table: --help, a manual page, completions for shells.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/options.h"

namespace sdgen::cli {

// A line or two an option, and examples. Of a subcommand, or ("") of the making of pictures.
std::string help_text(std::span<const SchedulerInfo> schedulers, std::string_view subcommand = "");
// The same with all that is to say about the options (--help-all).
std::string full_help_text(std::span<const SchedulerInfo> schedulers);

// sdgen.1, for man(7)'s macros.
std::string manual_page(std::span<const SchedulerInfo> schedulers);

// Completions of options, their words, files and subcommands.
std::string bash_completion(std::span<const SchedulerInfo> schedulers);
std::string zsh_completion(std::span<const SchedulerInfo> schedulers);
std::string fish_completion(std::span<const SchedulerInfo> schedulers);

// What a value is, for completion.
enum class ValueKind { none, file, folder, word, other };  // none: a switch; word: one of OptionRow::choices
ValueKind kind_of(const OptionRow& row);

}  // namespace sdgen::cli
