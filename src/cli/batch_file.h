// Batch files: what every line of them asks for, in the terms of the command line's options.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/settings.h"
#include "io/file.h"
#include "io/json.h"
#include "io/text_file.h"

namespace sdgen::cli {

// Text of a file or of stdin, line by line, as it comes.
class LineReader {
 public:
  static constexpr std::size_t kMostBytes = 4u << 20;  // of a line

  // "-": stdin. A file is looked at whole, pipes are read as they come. Throws Error(input), also for what is no text.
  explicit LineReader(const std::string& path);

  // The next line without its end (see TextDecoder); nothing at the end. Throws Error(usage) for a line beyond
  // kMostBytes, which is passed over, Error(input) when reading fails or what comes is no text, Cancelled.
  std::optional<std::string> next();
  // Gives the last lines back: next() has them again.
  void unread(std::vector<std::string> lines);
  // Asked a few times a second while it waits; true makes next() throw Cancelled.
  void set_cancelled(std::function<bool()> cancelled) { cancelled_ = std::move(cancelled); }
  std::size_t number() const { return number_; }     // of the last line, from 1
  const std::string& name() const { return name_; }  // for messages: the path, or "stdin"
  // Is a line, or the end, there without waiting?
  bool ready();

 private:
  bool fill(bool wait);  // false: nothing more came

  std::string name_;
  Descriptor file_;  // none: stdin
  std::string buffer_;
  std::size_t begin_ = 0, number_ = 0;
  bool ended_ = false;
  TextDecoder decoder_;
  std::vector<std::string> unread_;  // the next one at the end
  std::function<bool()> cancelled_ = [] { return false; };
};

// One line: options as they would be on the command line.
struct BatchLine {
  std::string where;  // "jobs.jsonl:12"
  Settings options;
};

// A batch file in one of these forms:
//   .jsonl      an object a line, its keys long options with "_" for "-"; true sets a switch, a list gives an option
//               several times, null gives none
//   .json       one list, of such objects or of prompts
//   .csv, .tsv  a header with "prompt" (or "caption"), then a row a picture; empty cells give no option
//   others      a prompt a line, then " --option value" or " --option=value", quoted as in a shell; "#" comments
// stdin ("-") is .jsonl when its first character is "{", and another file where its first line is an object; else as
// others.
class BatchFile {
 public:
  explicit BatchFile(const std::string& path);

  // Nothing at the end. Throws Error(usage) that names file and line for a malformed one; the next call goes on after
  // it. Throws Error(input) when reading fails.
  std::optional<BatchLine> next();
  // Would next() answer without waiting for more to come through the pipe?
  bool ready() { return !lines_ || lines_->ready(); }
  // Columns of a table that are not options: reported once, after the first line.
  const std::vector<std::string>& unused_columns() const { return unused_; }
  // Whether a name is an option ("--steps") decides which columns of a table count.
  void set_known(std::function<bool(const std::string&)> known) { known_ = std::move(known); }
  void set_cancelled(std::function<bool()> cancelled) {
    if (lines_) lines_->set_cancelled(std::move(cancelled));
  }

 private:
  enum class Form { text, json, list, comma, tab };
  std::optional<std::vector<std::string>> next_row();  // of a table
  void read_header();
  std::optional<BatchLine> next_cells();
  std::optional<BatchLine> next_of_list();
  std::optional<BatchLine> next_line();
  Form form_by(std::string_view line) const;
  std::string where(std::size_t line) const;

  std::optional<LineReader> lines_;  // none: a list
  std::optional<Form> form_;         // none: its first line decides
  Json list_;                        // of a list: all of it
  std::size_t of_list_ = 0;          // how many of it were taken
  std::string name_;
  std::vector<std::string> columns_, unused_;
  std::function<bool(const std::string&)> known_;
};

// The options that the keys of an object are: true sets a switch, a list gives an option several times, null and false
// give none. Throws Error(usage) for values that no option can have.
Settings settings_of(const Json& object);

// A line of text: a prompt and what follows it. Throws Error(usage) for a quote that does not end.
Settings parse_text_line(std::string_view line);

}  // namespace sdgen::cli
