#include "cli/option_fields.h"

#include <iterator>

namespace sdgen::cli {

bool was_given(const PictureFacts& made, std::string_view option) { return has(made.sources.given, option); }

Field as_given(Field field) {
  field.get = [list = field.list](const PictureFacts& made, std::string_view option) {
    const std::vector<std::string> values = values_of(made.sources.given, option);
    return values.empty() ? OrderedJson() : list ? OrderedJson(values) : OrderedJson(values.back());
  };
  field.from_given = true;
  return field;
}

Field output_file() {
  Type<std::string> type = written_path();
  type.read = [](const Argument& a) { return a.path() == "/dev/stdout" ? "-" : a.path(); };
  return field(&OutputOptions::path, type);
}

OptionRow no_mark_row(const Section& in) {
  return in.row("--no-mark", set_to(&OutputOptions::mark, false),
                "do not write into the picture, for programs to read, that a model made it");
}

std::vector<OptionRow> together(std::vector<OptionRow> first, std::vector<OptionRow> second,
                                std::vector<OptionRow> third, std::vector<OptionRow> fourth,
                                std::vector<OptionRow> fifth) {
  first.reserve(first.size() + second.size() + third.size() + fourth.size() + fifth.size());
  for (auto* section : {&second, &third, &fourth, &fifth}) std::ranges::move(*section, std::back_inserter(first));
  return first;
}

}  // namespace sdgen::cli
