#include "cli/sweep.h"

#include <algorithm>

#include "cli/options.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr std::size_t kMostCombinations = 10'000;

[[noreturn]] void wrong(std::string_view text, const std::string& why) {
  throw Error(Fault::usage, concat("--sweep: '", printable(text, 60), "': ", why));
}

// The pieces between separators outside quotes.
std::vector<std::string_view> unquoted(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    // A quote opens at the beginning of a value alone: it's is a word.
    const std::string_view before = trimmed(text.substr(begin, i - begin));
    if (quote
            ? text[i] == quote
            : (text[i] == '"' || text[i] == '\'') && (before.empty() || before.ends_with('=') || before.ends_with(',')))
      quote = quote ? 0 : text[i];
    else if (!quote && text[i] == separator)
      pieces.push_back(text.substr(begin, i - begin)), begin = i + 1;
  }
  if (quote) wrong(text, concat("a quotation begins with ", quote, " and does not end"));
  pieces.push_back(text.substr(begin));
  return pieces;
}

// Without the quotes around it.
std::string value_of(std::string_view piece) {
  piece = trimmed(piece);
  if (piece.size() >= 2 && (piece.front() == '"' || piece.front() == '\'') && piece.back() == piece.front())
    piece = piece.substr(1, piece.size() - 2);
  return std::string(piece);
}

}  // namespace

Sweep::Sweep(const std::string& text, std::span<const OptionRow> rows) {
  for (std::string_view piece : unquoted(text, ';')) {
    piece = trimmed(piece);
    if (piece.empty()) continue;
    const std::size_t equals = piece.find('=');
    if (equals == std::string_view::npos) wrong(piece, "expected NAME=VALUE,VALUE, like steps=10,20");
    std::string_view name = trimmed(piece.substr(0, equals));
    while (name.starts_with('-')) name.remove_prefix(1);
    const Settings known = checked({{option_of_key(name), ""}}, rows);
    const OptionRow& row = *find(rows, known[0].option);
    if (row.scope != Scope::picture || !row.get) wrong(piece, concat(row.name(), " belongs to the whole run"));
    if (has(row.name())) wrong(piece, concat(row.name(), " is swept twice"));
    Axis axis{row.name(), {}};
    for (const std::string_view value : unquoted(piece.substr(equals + 1), ',')) axis.values.push_back(value_of(value));
    const bool is_switch = row.is_switch();
    for (const std::string& value : axis.values) {
      if (!is_switch)
        try_out(row, Argument(row.name(), value));
      else if (value != "true" && value != "false")
        wrong(piece, concat(row.name(), " is a switch: its values are true and false"));
    }
    axes_.push_back(std::move(axis));
    switches_.push_back(is_switch);
    if (cells() > kMostCombinations) wrong(text, concat("has more than ", kMostCombinations, " combinations"));
  }
  if (axes_.empty()) wrong(text, "expected NAME=VALUE,VALUE, like steps=10,20");
}

std::size_t Sweep::cells() const {
  std::size_t product = 1;
  for (const Axis& axis : axes_) product *= axis.values.size();
  return product;
}

Settings Sweep::cell(std::size_t index) const {
  Settings settings;
  for (std::size_t i = 0; i < axes_.size(); ++i) {
    const std::string& value = axes_[i].values[index % axes_[i].values.size()];
    index /= axes_[i].values.size();
    if (!switches_[i])
      settings.push_back({axes_[i].option, value});
    else if (value == "true")
      settings.push_back({axes_[i].option, ""});
  }
  return settings;
}

std::string Sweep::heading(std::size_t cell, std::size_t axis) const {
  for (std::size_t i = 0; i < axis; ++i) cell /= axes_[i].values.size();
  std::string name = axes_[axis].option.substr(2);
  std::ranges::replace(name, '-', ' ');
  return concat(name, ": ", axes_[axis].values[cell % axes_[axis].values.size()]);
}

std::vector<std::string> Sweep::column_headings() const {
  std::vector<std::string> headings;
  for (std::size_t i = 0; i < axes_[0].values.size(); ++i) headings.push_back(heading(i, 0));
  return headings;
}

std::vector<std::string> Sweep::row_headings() const {
  std::vector<std::string> headings;
  const std::size_t columns = axes_[0].values.size();
  for (std::size_t cell = 0; cell < cells() && axes_.size() > 1; cell += columns) {
    headings.push_back(heading(cell, 1));
    for (std::size_t axis = 2; axis < axes_.size(); ++axis) headings.back() += ", " + heading(cell, axis);
  }
  return headings;
}

bool Sweep::has(std::string_view option) const {
  return std::ranges::find(axes_, option, &Axis::option) != axes_.end();
}

}  // namespace sdgen::cli
