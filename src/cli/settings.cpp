#include "cli/settings.h"

#include <algorithm>
#include <set>

#include "cli/options.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {

bool has(const Settings& settings, std::string_view option) {
  return std::ranges::find(settings, option, &Setting::option) != settings.end();
}

std::vector<std::string> values_of(const Settings& settings, std::string_view option) {
  std::vector<std::string> values;
  for (const auto& [name, value] : settings)
    if (name == option) values.push_back(value);
  return values;
}

std::string key_of(std::string_view option) {
  std::string key(option.substr(2));
  std::ranges::replace(key, '-', '_');
  return key;
}

std::string option_of_key(std::string_view key) {
  std::string option = concat("--", key);
  std::ranges::replace(option, '_', '-');
  return option;
}

Settings merged(const Settings& first, const Settings& then) {
  Settings all;
  std::ranges::copy_if(then, std::back_inserter(all), [&](const Setting& s) { return !has(first, s.option); });
  all.insert(all.end(), first.begin(), first.end());
  return all;
}

Settings checked(const Settings& settings, std::span<const OptionRow> rows) {
  Settings result;
  for (const auto& [option, value] : settings) {
    const OptionRow* row = find(rows, option);
    if (!row) {
      std::vector<std::string> names;
      for (const OptionRow& known : rows) names.push_back(known.name());
      throw Error(Fault::usage, concat("unknown option ", printable(option, 60), did_you_mean(option, names)));
    }
    if (!row->repeatable && has(result, row->name())) throw Error(Fault::usage, concat(row->name(), " is given twice"));
    if (row->is_switch() && !value.empty()) throw Error(Fault::usage, concat(row->name(), " takes no value"));
    result.push_back({row->name(), value});
  }
  return result;
}

void try_out(const OptionRow& row, const Argument& value) {
  Options trial;
  row.set(trial, value);
}

void apply(const Settings& settings, std::span<const OptionRow> rows, Options& options) {
  for (const auto& [option, value] : settings) find(rows, option)->set(options, Argument(option, value));
}

}  // namespace sdgen::cli
