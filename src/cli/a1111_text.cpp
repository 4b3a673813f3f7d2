#include "cli/a1111_text.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "io/utf8.h"

namespace sdgen::cli {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// The character at byte `i`, which moves past it; -1 for invalid bytes.
UChar32 take(std::string_view text, std::size_t& i) { return static_cast<UChar32>(next_character(text, i)); }

// Python's \s, and its str.strip().
bool blank(UChar32 c) { return c >= 0 && (u_isUWhiteSpace(c) || (c >= 0x1C && c <= 0x1F)); }

// Python's \w: letters and numbers of every kind, and "_".
bool wordly(UChar32 c) { return c == '_' || (c >= 0 && (U_MASK(u_charType(c)) & (U_GC_L_MASK | U_GC_N_MASK)) != 0); }

std::size_t skip_blanks(std::string_view text, std::size_t i) {
  for (std::size_t next = i; i < text.size() && blank(take(text, next)); i = next) {
  }
  return i;
}

std::string_view stripped(std::string_view text) {
  text.remove_prefix(skip_blanks(text, 0));
  while (!text.empty()) {
    std::size_t last = text.size();
    if (!blank(static_cast<UChar32>(previous_character(text, last)))) break;
    text = text.substr(0, last);
  }
  return text;
}

// The end of a JSON string that begins at `i`, if a comma or the line's end follows it; else 0.
std::size_t end_of_quotation(std::string_view line, std::size_t i) {
  if (i >= line.size() || line[i] != '"') return 0;
  const std::size_t begin = i++;
  while (i < line.size() && line[i] != '"') i += line[i] == '\\' ? 2 : 1;
  if (i >= line.size() || i == begin + 1) return 0;
  return i + 1 == line.size() || line[i + 1] == ',' ? i + 1 : 0;
}

// What Python's re.findall gives for  \s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)
// A key is as long as it can be, so that no shorter one needs to be tried: neither it nor what precedes it can hold
// ':'.
Pairs find_pairs(std::string_view line) {
  Pairs pairs;
  for (std::size_t i = 0; i < line.size();) {
    const std::size_t begin = skip_blanks(line, i);
    std::size_t end = begin;
    if (begin == line.size()) break;
    if (!wordly(take(line, end))) {
      i = end;
      continue;
    }
    const std::size_t second = end;
    for (std::size_t next = end; end < line.size(); end = next) {
      const UChar32 c = take(line, next);
      if (!wordly(c) && c != ' ' && c != '-' && c != '/') break;
    }
    if (end == second || end == line.size() || line[end] != ':') {
      i = end;
      continue;
    }
    const std::size_t value = skip_blanks(line, end + 1);
    std::size_t stop = end_of_quotation(line, value);
    if (stop == 0) stop = std::min(line.find(',', value), line.size());
    pairs.emplace_back(line.substr(begin, end - begin), line.substr(value, stop - value));
    i = stop + 1;
  }
  return pairs;
}

std::string unquoted(const std::string& value) {
  if (value.front() != '"' || value.back() != '"') return value;
  const auto json = nlohmann::json::parse(value, nullptr, /*allow_exceptions=*/false);
  return json.is_string() ? json.get<std::string>() : value;
}

}  // namespace

std::string A1111Text::value(std::string_view key) const {
  const auto found = std::ranges::find_if(values, [key](const auto& pair) { return pair.first == key; });
  return found == values.end() ? "" : found->second;
}

A1111Text parse_a1111(std::string_view text) {
  A1111Text result;
  text = stripped(text);
  const std::size_t last = text.rfind('\n') + 1;  // npos + 1 is 0
  const Pairs pairs = find_pairs(text.substr(last));
  const std::string_view prompts = pairs.size() < 3 ? text : text.substr(0, last == 0 ? 0 : last - 1);
  bool negative = false;
  for (std::size_t begin = 0; begin <= prompts.size() && !prompts.empty();) {
    const std::size_t end = std::min(prompts.find('\n', begin), prompts.size());
    constexpr std::string_view mark = "Negative prompt:";
    std::string_view line = stripped(prompts.substr(begin, end - begin));
    if (line.starts_with(mark)) {
      negative = true;
      line = stripped(line.substr(mark.size()));
    }
    std::string& prompt = negative ? result.negative_prompt : result.prompt;
    prompt += (prompt.empty() ? "" : "\n") + std::string(line);
    begin = end + 1;
  }
  if (pairs.size() < 3) return result;
  std::unordered_map<std::string, std::size_t> places;
  for (const auto& [key, value] : pairs) {
    if (value.empty()) continue;
    const auto [place, fresh] = places.emplace(key, result.values.size());
    if (fresh) result.values.emplace_back(key, "");
    result.values[place->second].second = unquoted(value);
  }
  return result;
}

}  // namespace sdgen::cli
