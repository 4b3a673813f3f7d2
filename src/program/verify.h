// `sdgen verify`: pictures drawn again from what they say of themselves, and compared with what they were.
#pragma once

#include <span>

#include "cli/options.h"

namespace sdgen::cli {

// Draws the pictures of options.process.paths again, those of one model after the other with one loading of it, and
// compares them. Returns the exit code: 0, 1 (some are different, or not there), 3 (some cannot be read or drawn
// again). `rows` are those of records. Throws Error (input: a path is nothing; output; device) and Cancelled; the
// report is written then, too.
int verify(const Options& options, std::span<const OptionRow> rows);

}  // namespace sdgen::cli
