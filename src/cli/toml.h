// toml++, set up by its own documented switches to survive files of others. Included in place of <toml++/toml.h>.
#pragma once

namespace sdgen::cli {
[[noreturn]] void no_toml();  // throws Error(input)
}

// toml++ asserts what files can violate: after '[' its parser takes every character for the beginning of a name, and
// "[=" would end the program. It is an error of the file. With NDEBUG, toml++ drops its assertions and goes on.
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : ::sdgen::cli::no_toml())
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>
