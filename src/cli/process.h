// The process and those around it: signals, standard streams, exit codes.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

namespace sdgen::cli {

// Call first in main(). From then on SIGINT and SIGTERM raise a flag. A second one ends the process at once, and so
// does the end of two seconds in which nobody looked at the flag (a long step, a slow disk): temporary files are
// removed, exit code 128 + signal. A closed pipe and a file size limit are errors of the write that meets them; and
// standard streams that the caller closed stay unusable instead of becoming the next file that is opened.
void prepare_process();

// Extends the grace period to ten seconds, so that finished pictures can be saved.
void extend_grace();

// SIGINT or SIGTERM once it has come, else 0.
int interrupted();

// Writes all of `bytes`. Throws Error(output) with the reason; with an empty message when the reader has gone away,
// which is not worth a line ("sdgen ... | head -1").
void write_stdout(std::string_view bytes);
// Best effort: an error here cannot be reported.
void write_stderr(std::string_view text) noexcept;

// Columns of the terminal on stderr, 0 when stderr is not a terminal.
int terminal_columns();

// Of what is said to people in one go: messages may quote what strangers wrote.
inline constexpr std::size_t kMostMessage = 16384;  // bytes

// An exception as the program ends with it.
struct Failure {
  int exit_code;
  std::string message;  // lines for stderr, each with its newline; may be empty
};
Failure explain(const std::exception& error);

}  // namespace sdgen::cli
