#include "cli/option_row.h"

#include <algorithm>
#include <sstream>

#include "cli/option_fields.h"
#include "io/text.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// "leading, linspace or trailing"
std::string alternatives(std::vector<std::string> words) {
  if (words.size() < 2) return joined(words);
  const std::string last = words.back();
  words.pop_back();
  return concat(joined(words), " or ", last);
}

std::string range(const Value& value) {
  return value.kind == Value::Kind::integer ? concat(value.least, " to ", value.most)
                                            : concat(value.low, " to ", value.high);
}

void replace(std::string& text, std::string_view field, const std::string& by) {
  if (const std::size_t at = text.find(field); at != std::string::npos) text.replace(at, field.size(), by);
}

}  // namespace

const std::string& OptionRow::name() const { return flags[0].starts_with("--") ? flags[0] : flags[1]; }

OptionRow OptionRow::about(Scope other) && {
  scope = other;
  return std::move(*this);
}

OptionRow OptionRow::from_environment(bool is) && {
  environment = is;
  return std::move(*this);
}

OptionRow OptionRow::in_a1111(A1111Key key) && {
  a1111 = std::move(key);
  return std::move(*this);
}

OptionRow OptionRow::in_core(std::string_view name) && {
  field = name;
  return std::move(*this);
}

OptionRow OptionRow::recorded(Field::Get other) && {
  get = std::move(other);
  from_given = false;
  return std::move(*this);
}

OptionRow OptionRow::recorded_if(Condition condition, bool asks_what_was_given) && {
  get = [condition = std::move(condition), whole = std::move(get)](const PictureFacts& made, std::string_view option) {
    return condition(made, option) ? whole(made, option) : OrderedJson();
  };
  from_given = asks_what_was_given;
  return std::move(*this);
}

OptionRow Section::row(std::string_view spelling, Field field, std::string_view help) const {
  OptionRow row{.section = name,
                .scope = scope,
                .environment = environment,
                .flags = {},
                .placeholder = {},
                .repeatable = field.list,
                .value = std::move(field.value),
                .help = std::string(help),
                .set = std::move(field.set),
                .get = std::move(field.get),
                .from_given = field.from_given,
                .a1111 = {}};
  std::istringstream words{std::string(spelling)};
  for (std::string word; words >> word;) (word.starts_with('-') ? row.flags.emplace_back() : row.placeholder) = word;
  replace(row.help, "{words}", alternatives(row.value.words));
  replace(row.help, "{range}", range(row.value));
  return row;
}

const std::vector<OptionRow>& option_rows() {
  static const std::vector<OptionRow> rows = together(model_options(), picture_options(), run_options());
  return rows;
}

bool names_input_picture(const OptionRow& row) {
  return row.scope == Scope::picture && row.value.kind == Value::Kind::path && row.from_given;
}

const OptionRow* find(std::span<const OptionRow> rows, std::string_view flag) {
  const auto row =
      std::ranges::find_if(rows, [&](const OptionRow& r) { return std::ranges::count(r.flags, flag) > 0; });
  return row == rows.end() ? nullptr : &*row;
}

}  // namespace sdgen::cli
