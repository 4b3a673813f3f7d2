// What a picture can be asked for, as a JSON Schema (draft 2020-12).
#pragma once

#include <span>

#include "cli/option_row.h"
#include "io/json.h"

namespace sdgen::cli {

// Of a line of a .jsonl file for --prompts ("#/$defs/line"), and of a record ("#/$defs/record", see record.h). What
// satisfies it is read without complaint, as far as values do not exclude each other. A line may be written in more
// ways: numbers as text, null for nothing, '-' for '_'. "#/$defs/progress" is a line of --progress json.
OrderedJson schema(std::span<const OptionRow> rows);

}  // namespace sdgen::cli
