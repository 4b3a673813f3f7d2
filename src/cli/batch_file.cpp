#include "cli/batch_file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <span>

#include "io/json.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

// The words of a text as a shell has them: "a b" and 'a b' are one, a backslash keeps what follows it.
std::vector<std::string> shell_words(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < text.size();) {
    if (is_blank(text[i])) {
      ++i;
      continue;
    }
    std::string word;
    char quote = 0;
    for (; i < text.size() && (quote || !is_blank(text[i])); ++i) {
      const char c = text[i];
      if (c == quote) {
        quote = 0;
      } else if (!quote && (c == '"' || c == '\'')) {
        quote = c;
      } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
        word += text[++i];
      } else {
        word += c;
      }
    }
    if (quote) throw Error(Fault::usage, concat("a quotation begins with ", quote, " and does not end"));
    words.push_back(std::move(word));
  }
  return words;
}

// A number or a word as it would be typed.
std::string typed(const Json& value, const std::string& key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  throw Error(Fault::usage, concat("key '", printable(key), "': expected a text, a number, true, false or null, found ",
                                   value.type_name()));
}

Settings parse_json_line(const std::string& line) {
  Json object;
  try {
    object = parse_json(line, "the line", 4, 10'000);
  } catch (const Error& error) {
    throw Error(Fault::usage, error.what());
  }
  if (!object.is_object()) throw Error(Fault::usage, concat("expected a JSON object, found ", object.type_name()));
  return settings_of(object);
}

// The cell in quotes that begins at text[begin], and where it ends; npos: there is none. `longer` appends a line to the
// text where cells may have several.
std::size_t quoted_cell(const std::string& text, std::size_t begin, char separator, bool lines,
                        const std::function<void()>& longer, std::string& cell) {
  if (begin >= text.size() || text[begin] != '"') return std::string::npos;
  cell.clear();
  for (std::size_t i = begin + 1;; ++i) {
    if (i == text.size()) {
      if (!lines) return std::string::npos;  // a plain quote
      longer();
    }
    if (i < text.size() && text[i] != '"') {
      cell += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '"') {
      cell += text[i++];
    } else if (i + 1 >= text.size() || text[i + 1] == separator) {
      return i + 1;
    } else {
      return std::string::npos;  // no quoted cell after all
    }
  }
}

std::string name_of_list(const std::string& path) { return path == "-" ? "stdin" : printable(path); }

// Throws Error(input) for a file that is no text: before the first picture, not at the line where it shows.
void require_list_is_text(const std::string& path, const std::string& name) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return;
  const InputFile file(path);
  TextDecoder decoder(name);
  std::string bytes, text;
  for (std::uint64_t at = 0;; at += bytes.size(), text.clear()) {
    bytes.resize(1 << 20);
    bytes.resize(file.read_some(at, std::as_writable_bytes(std::span(bytes))));
    decoder.add(bytes, bytes.empty(), text);
    if (bytes.empty()) return;
  }
}

}  // namespace

LineReader::LineReader(const std::string& path) : name_(name_of_list(path)), decoder_(name_) {
  if (path == "-") return;
  file_ = open_file(path, O_RDONLY | O_CLOEXEC);
  if (!file_) throw Error(Fault::input, concat(name_, ": ", std::strerror(errno)));
  require_list_is_text(path, name_);
}

bool LineReader::fill(bool wait) {
  if (ended_) return false;
  const int descriptor = file_ ? file_.get() : STDIN_FILENO;
  pollfd poll_for{descriptor, POLLIN, 0};
  while (poll(&poll_for, 1, wait ? 200 : 0) <= 0) {
    if (!wait) return false;
    if (cancelled_()) throw Cancelled();
  }
  buffer_.erase(0, begin_);
  begin_ = 0;
  char bytes[65536];
  ssize_t count;
  do {
    count = read(descriptor, bytes, sizeof bytes);
  } while (count < 0 && errno == EINTR);
  if (count < 0) throw Error(Fault::input, concat(name_, ": ", std::strerror(errno)));
  ended_ = count == 0;
  decoder_.add({bytes, std::size_t(count)}, ended_, buffer_);
  return count > 0;
}

void LineReader::unread(std::vector<std::string> lines) {
  number_ -= lines.size();
  std::ranges::reverse(lines);
  std::ranges::move(lines, std::back_inserter(unread_));
}

bool LineReader::ready() {
  if (!unread_.empty()) return true;
  while (!ended_ && buffer_.find('\n', begin_) == std::string::npos)
    if (!fill(/*wait=*/false)) return ended_;
  return true;
}

std::optional<std::string> LineReader::next() {
  if (!unread_.empty()) {
    ++number_;
    std::string line = std::move(unread_.back());
    unread_.pop_back();
    return line;
  }
  std::size_t end = buffer_.find('\n', begin_);
  bool too_long = false;
  while (end == std::string::npos && !ended_) {
    if (buffer_.size() - begin_ > kMostBytes) too_long = true, begin_ = buffer_.size();
    const std::size_t searched = buffer_.size() - begin_;
    fill(/*wait=*/true);
    end = buffer_.find('\n', begin_ + std::min(searched, buffer_.size() - begin_));
  }
  if (begin_ == buffer_.size() && end == std::string::npos && !too_long) return std::nullopt;
  ++number_;
  std::string line = buffer_.substr(begin_, std::min(end, buffer_.size()) - begin_);
  begin_ = std::min(end == std::string::npos ? buffer_.size() : end + 1, buffer_.size());
  if (too_long || line.size() > kMostBytes)
    throw Error(Fault::usage, concat("line is longer than ", kMostBytes >> 20, " MiB"));
  return line;
}

Settings settings_of(const Json& object) {
  Settings options;
  for (const auto& [key, value] : object.items()) {
    const std::string option = option_of_key(key);
    if (value.is_null() || value == false) continue;
    if (value == true) {
      options.push_back({option, ""});
    } else if (value.is_array()) {
      for (const Json& each : value) options.push_back({option, typed(each, key)});
    } else {
      options.push_back({option, typed(value, key)});
    }
  }
  return options;
}

Settings parse_text_line(std::string_view line) {
  // The prompt ends where a word begins with "--" and a letter.
  std::size_t end = 0;
  const auto option_at = [&line](std::size_t i) {
    return i + 2 < line.size() && line[i] == '-' && line[i + 1] == '-' &&
           std::isalpha(static_cast<unsigned char>(line[i + 2]));
  };
  while (end < line.size() && !((end == 0 || is_blank(line[end - 1])) && option_at(end))) ++end;
  Settings options;
  if (const std::string_view prompt = trimmed(line.substr(0, end)); !prompt.empty())
    options.push_back({"--prompt", std::string(prompt)});
  const std::vector<std::string> words = shell_words(line.substr(end));
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--"))
      throw Error(Fault::usage,
                  concat("'", printable(words[i], 60), "' comes after the options: the prompt comes first"));
    const std::size_t equals = words[i].find('=');
    const std::string option = words[i].substr(0, equals);
    std::string value;
    if (equals != std::string::npos)
      value = words[i].substr(equals + 1);
    else if (i + 1 < words.size() && !words[i + 1].starts_with("--"))
      value = words[++i];
    options.push_back({option, value});
  }
  return options;
}

BatchFile::BatchFile(const std::string& path)
    : name_(name_of_list(path)), known_([](const std::string&) { return true; }) {
  const std::string name = lower(path);
  if (name.ends_with(".json")) {
    form_ = Form::list;
    constexpr std::uint64_t most = std::uint64_t{1} << 30;
    list_ = parse_json(decoded_text(read_file(path, most), name_, LineEnds::of_programs), name_, 5, 100'000'000);
    if (!list_.is_array())
      throw Error(Fault::input, concat(name_, ": a .json file of prompts is a list, of objects or of texts; it is ",
                                       list_.type_name(), " (an object a line: .jsonl)"));
    return;
  }
  lines_.emplace(path);
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson"))
    form_ = Form::json;
  else if (name.ends_with(".csv"))
    form_ = Form::comma;
  else if (name.ends_with(".tsv"))
    form_ = Form::tab;
}

std::string BatchFile::where(std::size_t line) const { return concat(name_, ':', line); }

// A row may go on over several lines inside a quoted cell. A cell is quoted when it begins with a quote and one that is
// not doubled ends it right before the next separator; tables of prompts have plain quotes too. A quotation that does
// not end fails with its first line; the lines after it are read as such.
std::optional<std::vector<std::string>> BatchFile::next_row() {
  constexpr std::size_t most_lines = 1000;  // of a row
  std::optional<std::string> line = lines_->next();
  if (!line) return std::nullopt;
  std::vector<std::string> added;
  const auto longer = [&] {
    auto more = added.size() < most_lines ? lines_->next() : std::nullopt;
    if (!more) {
      lines_->unread(std::move(added));
      throw Error(Fault::usage, "a quotation begins in this line and does not end");
    }
    *line += "\n" + *more;
    added.push_back(std::move(*more));
  };
  const char separator = *form_ == Form::comma ? ',' : '\t';
  std::vector<std::string> cells;
  for (std::size_t i = 0;;) {
    std::string cell;
    const std::size_t length = line->size(), lines = added.size();
    std::size_t end = quoted_cell(*line, i, separator, *form_ == Form::comma, longer, cell);
    if (end == std::string::npos) {
      lines_->unread(
          {std::make_move_iterator(added.begin() + std::ptrdiff_t(lines)), std::make_move_iterator(added.end())});
      added.resize(lines);
      line->resize(length);
      end = std::min(line->find(separator, i), line->size());
      cell = line->substr(i, end - i);
    }
    cells.emplace_back(trimmed(cell));
    if (end >= line->size()) return cells;
    i = end + 1;
  }
}

// Without it nothing below makes sense: Error(input).
void BatchFile::read_header() {
  std::optional<std::vector<std::string>> header;
  try {
    header = next_row();
  } catch (const Error& error) {
    throw Error(Fault::input, concat(where(lines_->number()), ": ", error.what()));
  }
  if (!header) throw Error(Fault::input, concat(name_, ": the table is empty"));
  bool prompts = false;
  for (const std::string& cell : *header) {
    std::string name = option_of_key(lower(cell));
    if (name == "--caption" && std::ranges::none_of(*header, [](auto& c) { return lower(c) == "prompt"; }))
      name = "--prompt";
    prompts = prompts || name == "--prompt";
    if (!known_(name)) unused_.push_back(cell), name.clear();
    columns_.push_back(name);
  }
  if (!prompts)
    throw Error(Fault::input, concat(name_,
                                     ": the first line of a table names its columns, and one of them is "
                                     "'prompt' (or 'caption'); it is '",
                                     printable(header->front(), 60), "', ..."));
}

std::optional<BatchLine> BatchFile::next_cells() {
  if (columns_.empty()) read_header();
  while (true) {
    BatchLine line{where(lines_->number() + 1), {}};
    const auto cells = next_row();
    if (!cells) return std::nullopt;
    if (cells->size() > columns_.size())
      throw Error(Fault::usage, concat(cells->size(), " cells, but the header has ", columns_.size()));
    for (std::size_t i = 0; i < cells->size(); ++i)
      if (!columns_[i].empty() && !(*cells)[i].empty()) line.options.push_back({columns_[i], (*cells)[i]});
    if (!line.options.empty()) return line;
  }
}

std::optional<BatchLine> BatchFile::next_of_list() {
  if (of_list_ == list_.size()) return std::nullopt;
  const Json& entry = list_[of_list_++];
  if (entry.is_string()) return BatchLine{where(of_list_), {{"--prompt", entry.get<std::string>()}}};
  if (entry.is_object()) return BatchLine{where(of_list_), settings_of(entry)};
  throw Error(Fault::usage, concat("expected an object or a text, found ", entry.type_name()));
}

// Which form a text has, as far as its first line tells.
BatchFile::Form BatchFile::form_by(std::string_view line) const {
  const std::string begin = lower(line.substr(0, 9));
  const bool page = begin == "<!doctype" || begin.starts_with("<html") || begin.starts_with("<?xml");
  const bool list = line == "[" || (line.starts_with('[') && nlohmann::json::accept(line));
  if (page || list)
    throw Error(Fault::input, concat(name_, ": is not a list of prompts: it is ",
                                     page ? "a page of HTML or XML" : "one JSON list; a file of that is called .json"));
  if (!line.starts_with('{')) return Form::text;
  return name_ == "stdin" || nlohmann::json::accept(line) ? Form::json : Form::text;  // else choices: {a|b}
}

std::optional<BatchLine> BatchFile::next_line() {
  while (const std::optional<std::string> text = lines_->next()) {
    const std::string_view line = trimmed(*text);
    if (line.empty() || (line.starts_with('#') && form_ != Form::json)) continue;
    if (!form_) form_ = form_by(line);
    return BatchLine{where(lines_->number()),
                     *form_ == Form::json ? parse_json_line(std::string(line)) : parse_text_line(line)};
  }
  return std::nullopt;
}

std::optional<BatchLine> BatchFile::next() {
  try {
    if (form_ == Form::list) return next_of_list();
    return form_ == Form::comma || form_ == Form::tab ? next_cells() : next_line();
  } catch (const Error& error) {
    if (error.fault() == Fault::input) throw;
    throw Error(error.fault(), concat(where(lines_ ? lines_->number() : of_list_), ": ", error.what()));
  }
}

}  // namespace sdgen::cli
