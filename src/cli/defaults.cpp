#include "cli/defaults.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>

#include "cli/model_path.h"
#include "cli/options.h"
#include "cli/toml.h"
#include "io/file.h"
#include "io/text.h"
#include "io/text_file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {

void no_toml() { throw Error(Fault::input, "no TOML: a table's name is malformed"); }

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostConfig = 1u << 20;  // bytes

// toml++ is given ASCII alone: its table of Unicode's white space ends in what it calls unreachable, and letters reach
// it, outside of quotes and, within them, after a line's last backslash. So a byte beyond ASCII is written as '|' and
// two hexadecimal digits, and so is '|' itself. Within quotes that is text like any other; outside of them '|' is as
// wrong as the letters that it is written for. kNothing keeps a '|' that comes of an escape from the digits after it.
constexpr char kMark = '|';
constexpr std::string_view kNothing = "|--", kDigits = "0123456789abcdef";

std::string in_ascii(std::string_view text) {
  const std::size_t valid = valid_utf8_prefix(text);
  if (valid < text.size()) {
    const auto line = 1 + std::ranges::count(text.substr(0, valid), '\n');
    throw Error(Fault::input, concat("no TOML: line ", line, " is not UTF-8"));
  }
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  std::string ascii;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && c != kMark)
      ascii += c;
    else
      ascii += {kMark, kDigits[byte >> 4], kDigits[byte & 15]};
    if (c == 'c' || c == 'C') {
      const std::string tail = lower(ascii.substr(ascii.size() - std::min<std::size_t>(ascii.size(), 10)));
      if (tail.ends_with("\\u007c") || tail == "\\u0000007c") ascii += kNothing;
    }
  }
  return ascii;
}

std::string from_ascii(std::string_view ascii) {
  std::string text;
  while (!ascii.empty()) {
    const auto high = ascii.size() < 3 ? ascii.npos : kDigits.find(ascii[1]);
    const auto low = ascii.size() < 3 ? ascii.npos : kDigits.find(ascii[2]);
    if (ascii.starts_with(kNothing)) {
      ascii.remove_prefix(kNothing.size());
    } else if (ascii[0] == kMark && high != ascii.npos && low != ascii.npos) {
      text += char(high << 4 | low);
      ascii.remove_prefix(3);
    } else {
      text += ascii[0];
      ascii.remove_prefix(1);
    }
  }
  return text;
}

// What toml++ complains of, in terms of the file.
std::string complaint(std::string_view description) {
  constexpr std::string_view mark = "saw '|'";
  std::string text(description);
  if (text.ends_with(mark)) text.replace(text.size() - mark.size(), mark.size(), "saw a letter beyond ASCII, or '|'");
  return printable(from_ascii(text));
}

// A value as it would be typed; nothing: it is neither text nor number.
std::optional<std::string> typed(const toml::node& node) {
  if (const auto* text = node.as_string()) return from_ascii(text->get());
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* real = node.as_floating_point()) return shortest(real->get());
  return std::nullopt;
}

// A path of the file `config` that is read: relative ones begin in its folder, but for what is a name in the hub's
// cache.
std::string placed(const std::string& value, const OptionRow& row, const fs::path& config) {
  const bool read =
      (row.value.kind == Value::Kind::path || row.value.kind == Value::Kind::folder) && !row.value.written;
  if (!read || value.empty() || value == "-" || value == kEmbeddedModel || value[0] == '/' || value[0] == '~')
    return value;
  const fs::path here = config.parent_path() / value;
  return !present(here) && located(value) != fs::path(value) ? value : here.string();
}

// Reads one key of the file.
void take(const std::string& option, const toml::node& node, const OptionRow& row, const fs::path& config,
          Settings& settings) {
  const auto expect = [&](bool good, const char* what) {
    if (!good) throw Error(Fault::input, concat(option, ": expected ", what));
  };
  if (row.is_switch()) {
    expect(node.is_boolean(), "true or false");
    if (node.as_boolean()->get()) settings.push_back({option, ""});
  } else if (const auto* list = node.as_array()) {
    expect(row.repeatable, "one value, found a list");
    for (const toml::node& each : *list) {
      const auto value = typed(each);
      expect(value.has_value(), "a list of texts or numbers");
      settings.push_back({option, placed(*value, row, config)});
    }
  } else {
    const auto value = typed(node);
    expect(value.has_value(), "a text or a number");
    settings.push_back({option, placed(*value, row, config)});
  }
}

}  // namespace

Settings read_config(const std::string& path, std::span<const OptionRow> rows) {
  const std::string text = decoded_text(read_file(path, kMostConfig), printable(path), LineEnds::of_programs);
  Settings settings;
  std::size_t line = 0;
  try {
    const toml::table table = toml::parse(in_ascii(text));
    for (const auto& [key, node] : table) {
      line = node.source().begin.line;
      const std::string given = option_of_key(from_ascii(key.str()));
      const OptionRow* row = find(rows, checked({{given, ""}}, rows)[0].option);
      if (row->scope == Scope::process)
        throw Error(Fault::input, concat(row->name(), " has no place in a configuration file"));
      if (has(settings, row->name())) throw Error(Fault::input, concat(row->name(), " is there under two names"));
      take(row->name(), node, *row, path, settings);
      for (const auto& [option, value] : settings)
        if (option == row->name()) try_out(*row, Argument(option, value));
    }
  } catch (const toml::parse_error& error) {
    throw Error(Fault::input,
                concat(printable(path), ':', error.source().begin.line, ": no TOML: ", complaint(error.description())));
  } catch (const Error& error) {
    throw Error(Fault::input,
                concat(printable(path), line > 0 ? concat(':', line) : std::string(), ": ", error.what()));
  }
  return settings;
}

std::string variable_of(const OptionRow& row) {
  if (!row.environment) return "";
  std::string key = key_of(row.name());
  std::ranges::transform(key, key.begin(), [](char c) { return char(std::toupper(c)); });
  return "SDGEN_" + key;
}

Settings environment_settings(std::span<const OptionRow> rows, std::vector<std::string>& warnings) {
  std::vector<std::string> names;
  Settings settings;
  for (const OptionRow& row : rows) {
    const std::string name = variable_of(row);
    if (name.empty()) continue;
    names.push_back(name);
    const char* value = std::getenv(name.c_str());
    if (!value || !*value) continue;
    const Argument argument(name, value);
    if (row.is_switch()) {
      const std::string& word = argument.choice({"0", "1", "false", "true"});
      if (word == "1" || word == "true") settings.push_back({row.name(), ""});
      continue;
    }
    try_out(row, argument);
    settings.push_back({row.name(), value});
  }
  const std::set<std::string> others = {"SDGEN_MODEL", "SDGEN_DATA", "SDGEN_SHOW", "SDGEN_CUDA", "SDGEN_PROMPTS"};
  for (char** variable = environ; *variable; ++variable) {
    const std::string_view entry = *variable;
    const std::string name(entry.substr(0, entry.find('=')));
    if (!name.starts_with("SDGEN_") || others.contains(name) || std::ranges::count(names, name)) continue;
    const std::string option = option_of_key(lower(name.substr(6)));
    if (find(rows, option))
      warnings.push_back(concat(printable(name, 60), " is not taken from the environment: say it with ", option));
    else if (const std::string meant = did_you_mean(name, names); !meant.empty())
      warnings.push_back(concat("the environment's ", printable(name, 60), " is not an option", meant));
  }
  return settings;
}

}  // namespace sdgen::cli
