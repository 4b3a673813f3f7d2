#include "text/class_names.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "io/edit_distance.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

// As names are compared: in lower case, with one space between words.
std::string as_compared(std::string_view name) {
  const std::string lower = unicode::lower(name);
  std::string out;
  bool apart = false;
  for (std::size_t at = 0; at < lower.size();) {
    const std::size_t begin = at;
    if (unicode::is_space(next_character(lower, at))) {
      apart = true;
      continue;
    }
    if (apart && !out.empty()) out += ' ';
    apart = false;
    out.append(lower, begin, at - begin);
  }
  return out;
}

// Nothing for what is no number.
std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) return std::nullopt;
  return error == std::errc() ? number : std::int64_t{-1};
}

}  // namespace

ClassNames::ClassNames(const Config& index, std::int64_t count) : who_(index.who()), count_(count) {
  if (!index.has("id2label")) return;
  const Json& names = index.json().at("id2label");
  if (!names.is_object()) index.unsupported("id2label", "expected an object of names by number");
  for (const auto& [key, value] : names.items()) {
    const std::optional<std::int64_t> number = number_in(key);
    if (!number || *number < 0 || *number >= count || !value.is_string())
      index.unsupported("id2label",
                        concat("'", printable(key), "': expected the name of a class from 0 to ", count - 1));
    const std::string all = value.get<std::string>();
    for (std::size_t begin = 0; begin <= all.size();) {
      const std::size_t end = std::min(all.find(',', begin), all.size());
      add(all.substr(begin, end - begin), *number);
      begin = end + 1;
    }
    add(all, *number);
  }
}

void ClassNames::add(const std::string& name, std::int64_t number) {
  const std::string known = as_compared(name);
  if (known.empty()) return;
  std::vector<std::int64_t>& numbers = numbers_[known];
  if (!std::ranges::count(numbers, number)) numbers.insert(std::ranges::upper_bound(numbers, number), number);
}

std::int64_t ClassNames::number_of(const std::string& prompt) const {
  const std::string name = as_compared(prompt);
  if (const auto found = numbers_.find(name); found != numbers_.end()) {
    if (found->second.size() == 1) return found->second.front();
    std::vector<std::string> numbers;
    for (const std::int64_t number : found->second) numbers.push_back(std::to_string(number));
    throw Error(Fault::usage, concat(FieldName{"prompt"}, ": several classes are called '", printable(name),
                                     "': say which by its number: ", joined(numbers, ", ")));
  }
  const std::optional<std::int64_t> number = number_in(name);
  if (!number) unknown(prompt);
  if (*number < 0 || *number >= count_)
    throw Error(Fault::usage, concat(FieldName{"prompt"}, ": class ", printable(name), " is outside 0..", count_ - 1,
                                     ", the classes that this model draws"));
  return *number;
}

void ClassNames::unknown(const std::string& prompt) const {
  const std::string what =
      concat(FieldName{"prompt"}, ": this model draws classes, and none is called '", printable(prompt, 60), "'");
  if (numbers_.empty())
    throw Error(Fault::usage, concat(what, ": it has no names for them (id2label in ", who_,
                                     "); give a number from 0 to ", count_ - 1));
  const std::string name = as_compared(prompt);
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const auto& [known, numbers] : numbers_) near.emplace_back(edit_distance(name, known), known);
  const auto few = near.begin() + std::ptrdiff_t(std::min<std::size_t>(near.size(), 3));
  std::ranges::partial_sort(near, few);
  std::vector<std::string> names;
  std::for_each(near.begin(), few,
                [&](const auto& one) { names.push_back(concat('\'', printable(one.second), '\'')); });
  throw Error(Fault::usage,
              concat(what, "; the nearest names are ", joined(names, ", "), ", the numbers are 0 to ", count_ - 1));
}

}  // namespace sdgen
