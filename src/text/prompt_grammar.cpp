#include "text/prompt_grammar.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <optional>
#include <set>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The offset of the first character from `at` on that is not white space.
std::size_t skip_space(std::string_view text, std::size_t at) {
  for (std::size_t next = at; next < text.size(); at = next)
    if (!unicode::is_space(next_character(text, next))) break;
  return at;
}

std::string_view without_trailing_space(std::string_view text) {
  std::size_t end = text.size();
  for (std::size_t before = end; before > 0; end = before)
    if (!unicode::is_space(previous_character(text, before))) break;
  return text.substr(0, end);
}

// Is the character before, and the one at, `at` a word's?
bool word_before(std::string_view text, std::size_t at) {
  return at > 0 && unicode::is_word(previous_character(text, at));
}
bool word_at(std::string_view text, std::size_t at) {
  return at < text.size() && unicode::is_word(next_character(text, at));
}

// The next place of `word` that stands alone, from `at` on; npos if there is none.
std::size_t find_word(std::string_view text, std::string_view word, std::size_t at) {
  for (; (at = text.find(word, at)) != std::string_view::npos; at += word.size())
    if (!word_before(text, at) && !word_at(text, at + word.size())) break;
  return at;
}

void require_depth(std::size_t depth) {
  if (depth > kDeepestBracket)
    throw Error(Fault::usage, concat("the prompt's brackets are nested more than ", kDeepestBracket,
                                     " deep; write \\( and \\[ for brackets that are meant as text"));
}

// All of `digits`, a sign in front allowed, as a number.
std::optional<double> number(std::string_view digits) {
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// The weight of "...:1.3)" at the colon `at`.
struct WeightMark {
  std::string_view digits;
  std::size_t end;  // after the bracket
};

std::optional<WeightMark> weight_mark(std::string_view text, std::size_t at) {
  const std::size_t begin = skip_space(text, at + 1);
  std::size_t end = begin + (begin < text.size() && (text[begin] == '+' || text[begin] == '-'));
  const std::size_t first = end;
  while (end < text.size() && (is_digit(text[end]) || text[end] == '.')) ++end;
  const std::size_t bracket = skip_space(text, end);
  if (end == first || bracket == text.size() || text[bracket] != ')') return std::nullopt;
  return WeightMark{text.substr(begin, end - begin), bracket + 1};
}

// Collects parts, and multiplies those that a bracket holds when it closes.
class Weigher {
 public:
  void open(char bracket) {
    (bracket == '(' ? round_ : square_).push_back(parts_.size());
    require_depth(round_.size() + square_.size());
  }
  bool in_round() const { return !round_.empty(); }
  bool in_square() const { return !square_.empty(); }
  void close_round(double weight) { multiply(round_, weight); }
  void close_square() { multiply(square_, 1 / 1.1); }

  void text(std::string_view text) { parts_.push_back({std::string(text), 1}); }

  // `text` with its BREAKs, and the white space around them, cut out.
  void text_and_breaks(std::string_view all) {
    constexpr std::string_view word = "BREAK";
    std::size_t begin = 0;
    for (std::size_t at; (at = find_word(all, word, begin)) != std::string_view::npos;) {
      text(without_trailing_space(all.substr(begin, at - begin)));
      parts_.push_back({std::string(word), -1});
      begin = skip_space(all, at + word.size());
    }
    text(all.substr(begin));
  }

  std::vector<PromptPart> finish() {
    for (const std::size_t begin : round_) multiply_from(begin, 1.1);
    for (const std::size_t begin : square_) multiply_from(begin, 1 / 1.1);
    std::vector<PromptPart> merged;
    for (PromptPart& part : parts_) {
      if (!merged.empty() && merged.back().weight == part.weight) {
        merged.back().text += part.text;
      } else {
        merged.push_back(std::move(part));
      }
    }
    if (merged.empty()) merged.emplace_back();
    return merged;
  }

 private:
  void multiply(std::vector<std::size_t>& brackets, double weight) {
    multiply_from(brackets.back(), weight);
    brackets.pop_back();
  }
  void multiply_from(std::size_t begin, double weight) {
    for (std::size_t i = begin; i < parts_.size(); ++i) parts_[i].weight *= weight;
  }

  std::vector<PromptPart> parts_;
  std::vector<std::size_t> round_, square_;  // the first part of each open bracket
};

struct Choice;
// Text, or what depends on the step.
struct Item {
  std::string text;
  std::unique_ptr<Choice> choice;
};
using Sequence = std::vector<Item>;
struct Choice {
  std::vector<Sequence> options;
  std::optional<int> when;  // the first option up to this step, then the second; none: they take turns
};

void append(Sequence& to, std::string_view text) {
  if (to.empty() || to.back().choice) to.emplace_back();
  to.back().text += text;
}

void append(Sequence& to, Sequence&& from) {
  for (Item& item : from) {
    if (item.choice) {
      to.push_back(std::move(item));
    } else {
      append(to, item.text);
    }
  }
}

// The step of "[...: 0.5 ]", where `field` is a number.
std::optional<int> step_of(const Sequence& field, int steps) {
  if (field.size() != 1 || field[0].choice) return std::nullopt;
  std::string_view text = without_trailing_space(field[0].text);
  text.remove_prefix(skip_space(text, 0));
  const auto numeral = [](char c) {
    return is_digit(c) || std::string_view("+-.eE").find(c) != std::string_view::npos;
  };
  if (!std::all_of(text.begin(), text.end(), numeral)) return std::nullopt;
  if (text.starts_with("+-")) return std::nullopt;  // number() would take the sign for the one that it skips
  const std::optional<double> value = number(text);
  if (!value) return std::nullopt;
  const double step = text.find('.') == std::string_view::npos ? *value : *value * steps;
  return static_cast<int>(std::clamp<double>(step, -1, steps));
}

// Reads a prompt once, bracket by bracket. A bracket that fits no rule makes all those around it text as well, since
// no rule takes a stray bracket inside.
class ScheduleParser {
 public:
  ScheduleParser(std::string_view text, int steps) : text_(text), steps_(steps) {}

  // Empty: the prompt is text as a whole.
  std::optional<Sequence> parse() {
    for (std::size_t at = 0; at < text_.size(); ++at) {
      const char c = text_[at];
      if (c == '\\') {
        if (at + 1 == text_.size() || text_[at + 1] == '\n') return std::nullopt;
        append(here(), text_.substr(at++, 2));
      } else if (c == '(' || c == '[') {
        open_.push_back({c, {}, 0, 0});
        open_.back().fields.emplace_back();
        require_depth(open_.size());
      } else if (c == ')' || c == ']') {
        if (!close(c)) return std::nullopt;
      } else if (c == '|' && (open_.empty() || open_.back().bracket == '(')) {
        return std::nullopt;
      } else if ((c == ':' || c == '|') && !open_.empty()) {
        ++(c == ':' ? open_.back().colons : open_.back().bars);
        open_.back().fields.emplace_back();
      } else {
        append(here(), text_.substr(at, 1));
      }
    }
    if (!give_up()) return std::nullopt;
    return std::move(root_);
  }

  // The steps after which something changes.
  const std::set<int>& changes() const { return changes_; }
  bool takes_turns() const { return takes_turns_; }

 private:
  struct Bracket {
    char bracket;
    std::vector<Sequence> fields;  // between colons or bars
    int colons, bars;
  };

  Sequence& here() { return open_.empty() ? root_ : open_.back().fields.back(); }

  // All open brackets are text. False where that leaves a bar outside of square brackets.
  bool give_up() {
    for (Bracket& b : open_) {
      if (b.bars > 0) return false;
      append(root_, std::string_view(&b.bracket, 1));
      for (std::size_t i = 0; i < b.fields.size(); ++i) {
        if (i > 0) append(root_, ":");
        append(root_, std::move(b.fields[i]));
      }
    }
    open_.clear();
    return true;
  }

  bool close(char c) {
    const bool matches = !open_.empty() && open_.back().bracket == (c == ')' ? '(' : '[');
    if (!matches || !(c == ')' ? close_round() : close_square())) {
      if (!give_up()) return false;
      append(root_, std::string_view(&c, 1));
    }
    return true;
  }

  // Each of these takes the last bracket away, or says that it fits no rule.
  bool close_round() {
    if (open_.back().colons > 1) return false;
    emphasize("(", ")");
    return true;
  }

  bool close_square() {
    Bracket& b = open_.back();
    if (b.bars > 0 && b.colons > 0) return false;
    if (b.bars > 0) {
      takes_turns_ = true;
      choose({std::move(b.fields), std::nullopt});
      return true;
    }
    if (b.colons == 0) {
      emphasize("[", "]");
      return true;
    }
    const std::optional<int> when = b.colons <= 2 ? step_of(b.fields.back(), steps_) : std::nullopt;
    if (!when) return false;
    b.fields.pop_back();
    if (b.fields.size() == 1) b.fields.emplace(b.fields.begin());
    if (*when >= 1) changes_.insert(*when);
    choose({std::move(b.fields), when});
    return true;
  }

  void choose(Choice choice) {
    open_.pop_back();
    here().push_back({"", std::make_unique<Choice>(std::move(choice))});
  }

  void emphasize(std::string_view left, std::string_view right) {
    std::vector<Sequence> fields = std::move(open_.back().fields);
    open_.pop_back();
    append(here(), left);
    append(here(), std::move(fields[0]));
    if (fields.size() > 1) append(here(), ":");
    if (fields.size() > 1) append(here(), std::move(fields[1]));
    append(here(), right);
  }

  std::string_view text_;
  int steps_;
  Sequence root_;
  std::vector<Bracket> open_;
  std::set<int> changes_;
  bool takes_turns_ = false;
};

// As deep as brackets nest.
void resolve(const Sequence& sequence, int step, std::string& out) {
  for (const Item& item : sequence) {
    out += item.text;
    if (!item.choice) continue;
    const Choice& c = *item.choice;
    const std::size_t option = c.when ? step > *c.when : std::size_t(step - 1) % c.options.size();
    resolve(c.options[option], step, out);
  }
}

// "text : 1.2" -> text, 1.2
ComposedPrompt weighed(std::string_view text) {
  text = without_trailing_space(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {std::string(text), 1};
  const std::string_view digits = text.substr(skip_space(text, colon + 1));
  const bool signed_digits = digits.starts_with('+') || digits.starts_with('-');
  const auto numeral = [](char c) { return is_digit(c) || c == '.'; };
  const std::string_view unsigned_digits = digits.substr(signed_digits);
  const std::optional<double> weight =
      std::all_of(unsigned_digits.begin(), unsigned_digits.end(), numeral) ? number(digits) : std::nullopt;
  if (!weight) return {std::string(text), 1};
  return {std::string(without_trailing_space(text.substr(0, colon))), *weight};
}

}  // namespace

std::vector<PromptPart> parse_weights(std::string_view text) {
  unicode::require_utf8(text);
  Weigher parts;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const std::optional<WeightMark> mark = c == ':' ? weight_mark(text, at) : std::nullopt;
    std::size_t end = at + 1;
    if (c == '\\') {
      const bool escapes = end < text.size() && std::string_view("()[]\\").find(text[end]) != std::string_view::npos;
      parts.text(text.substr(end, escapes));
      end += escapes;
    } else if (c == '(' || c == '[') {
      parts.open(c);
    } else if (mark && parts.in_round()) {
      const std::optional<double> weight = number(mark->digits);
      if (!weight)
        throw Error(Fault::usage, concat("the prompt's weight '", printable(mark->digits, 40), "' is not a number"));
      parts.close_round(*weight);
      end = mark->end;
    } else if (c == ')' && parts.in_round()) {
      parts.close_round(1.1);
    } else if (c == ']' && parts.in_square()) {
      parts.close_square();
    } else {
      if (mark) end = mark->end;
      if (c != ':' && c != ')' && c != ']') end = std::min(text.find_first_of("\\()[]:", at), text.size());
      parts.text_and_breaks(text.substr(at, end - at));
    }
    at = end;
  }
  return parts.finish();
}

std::vector<ScheduledPrompt> parse_schedule(std::string_view text, int steps) {
  unicode::require_utf8(text);
  ScheduleParser parser(text, steps);
  const std::optional<Sequence> sequence = parser.parse();
  if (!sequence) return {{steps, std::string(text)}};
  std::set<int> ends = parser.changes();
  ends.insert(steps);
  if (parser.takes_turns())
    for (int step = 1; step < steps; ++step) ends.insert(step);
  std::vector<ScheduledPrompt> schedule;
  for (const int step : ends) {
    schedule.push_back({step, ""});
    resolve(*sequence, step, schedule.back().text);
  }
  return schedule;
}

const std::string& text_at(const std::vector<ScheduledPrompt>& schedule, int call) {
  const auto entry = std::find_if(schedule.begin(), schedule.end(), [call](const auto& e) { return call <= e.until; });
  return entry == schedule.end() ? schedule.back().text : entry->text;
}

std::vector<ComposedPrompt> parse_composition(std::string_view text) {
  constexpr std::string_view word = "AND";
  constexpr std::size_t most = 1000;  // each is another row through the U-Net
  unicode::require_utf8(text);
  std::vector<ComposedPrompt> prompts;
  std::size_t begin = 0;
  for (std::size_t at; (at = find_word(text, word, begin)) != std::string_view::npos; begin = at + word.size()) {
    prompts.push_back(weighed(text.substr(begin, at - begin)));
    if (prompts.size() == most)
      throw Error(Fault::usage, concat("the prompt joins more than ", most, " others with AND"));
  }
  prompts.push_back(weighed(text.substr(begin)));
  return prompts;
}

}  // namespace sdgen
