// Makes the pictures that a command line asks for.
#pragma once

#include <span>

#include "cli/options.h"

namespace sdgen::cli {

struct CommandLine;

// Settles what is to be made, loads the model once, makes the pictures and puts each away as soon as it is there.
// Returns the exit code: 0, or 1 when lines of a batch file failed, or a picture is not what --expect says. Throws
// Error and Cancelled; what is finished by then is saved, as far as that takes no more than ten seconds after a signal.
// `rows` are those that the command line was read by.
int generate(const CommandLine& command, std::span<const OptionRow> rows);

}  // namespace sdgen::cli
