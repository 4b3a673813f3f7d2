#include "cli/names.h"

#include <algorithm>
#include <set>

#include "cli/arguments.h"
#include "io/file_format.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

std::string padded(std::uint64_t number, int width) {
  const std::string digits = std::to_string(number);
  const std::size_t zeros = static_cast<std::size_t>(width) > digits.size() ? width - digits.size() : 0;
  return std::string(zeros, '0') + digits;
}

bool unsafe(unsigned char c) {
  return c <= ' ' || c == 0x7F ||
         std::string_view("/\\:*?\"<>|'`$&;!#%()[]{}~").find(static_cast<char>(c)) != std::string_view::npos;
}

bool is_folder(const std::string& output) {
  std::error_code error;
  return output.ends_with('/') || std::filesystem::is_directory(output, error);
}

}  // namespace

NameTemplate::NameTemplate(const std::string& text) {
  const auto add_text = [this](char c) {
    if (pieces_.empty() || pieces_.back().field != Field::text) pieces_.push_back({Field::text, ""});
    pieces_.back().text += c;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      add_text(c);
      ++i;
    } else if (c == '{') {
      const std::size_t close = text.find('}', i);
      if (close == std::string::npos) {
        throw Error(Fault::usage,
                    concat("--output: '", printable(text), "' has a { without its } (a brace itself is {{)"));
      }
      pieces_.push_back(parse_field(text.substr(i + 1, close - i - 1)));
      i = close;
    } else if (c == '}') {
      throw Error(Fault::usage,
                  concat("--output: '", printable(text), "' has a } without its { (a brace itself is }})"));
    } else {
      add_text(c);
    }
  }
}

NameTemplate::Piece NameTemplate::parse_field(const std::string& text) {
  static const std::vector<std::string> names = {"index", "seed", "prompt", "model", "input"};
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw Error(Fault::usage, concat("--output: unknown field {", printable(name, 40), "}", did_you_mean(name, names),
                                     " (there are {index}, {seed}, {prompt}, {model} and {input})"));
  }
  Piece piece{static_cast<Field>(found - names.begin() + 1), ""};
  if (colon != std::string::npos) {
    if (piece.field != Field::index && piece.field != Field::seed) {
      throw Error(Fault::usage, concat("--output: {", name, "} takes no width"));
    }
    piece.width =
        static_cast<int>(Argument(concat("--output: width of {", name, "}"), text.substr(colon + 1)).integer(1, 20));
  }
  return piece;
}

bool NameTemplate::tells_pictures_apart() const {
  return std::ranges::any_of(pieces_, [](const Piece& p) { return p.field == Field::index || p.field == Field::seed; });
}

bool NameTemplate::tells_inputs_apart() const {
  return std::ranges::any_of(pieces_, [](const Piece& p) { return p.field == Field::input; });
}

bool NameTemplate::is_fixed() const {
  return std::ranges::all_of(pieces_, [](const Piece& p) { return p.field == Field::text; });
}

std::string NameTemplate::expand(const NameFields& fields) const {
  std::string name;
  for (const Piece& piece : pieces_) {
    switch (piece.field) {
      case Field::text:
        name += piece.text;
        break;
      case Field::index:
        name += padded(fields.index, piece.width);
        break;
      case Field::seed:
        name += padded(fields.seed, piece.width);
        break;
      case Field::prompt:
        name += safe_file_name(fields.prompt);
        break;
      case Field::model:
        name += safe_file_name(fields.model);
        break;
      case Field::input:
        if (!fields.input)
          throw Error(Fault::usage,
                      "--output: {input} is the name of a picture that another is made of, and here is none");
        name += safe_file_name(*fields.input);
        break;
    }
  }
  return name;
}

std::filesystem::path NameTemplate::folder() const {
  if (pieces_.empty() || pieces_[0].field != Field::text) return {};
  const std::string& text = pieces_[0].text;
  const std::size_t slash = text.rfind('/');
  return slash == std::string::npos ? std::string() : text.substr(0, slash + 1);
}

const ImageFormat& output_format(const std::optional<std::string>& output, const ImageFormat* given) {
  const ImageFormat* format = given;
  if (output && !is_folder(*output)) {
    const std::string ending = lower(std::filesystem::path(*output).extension().string());
    const ImageFormat* meant = image_format_of_ending(ending);
    if (const std::string_view means = picture_format_of_ending(ending); !means.empty() && !meant)
      throw Error(Fault::usage, concat("--output: '", printable(*output), "' has the ending of ", means,
                                       "; sdgen writes ", image_format_names()));
    if (meant && given && meant != given)
      throw Error(Fault::usage,
                  concat("--output: '", printable(*output), "' ends as another format than --format asks for"));
    if (!format) format = meant;
  }
  if (!format) format = &png_format();
  require_usable(*format, Fault::usage,
                 given ? concat("--format ", format->word) : concat("--output '", printable(output.value_or("")), "'"));
  return *format;
}

namespace {

std::string default_name(DefaultNames names) {
  switch (names) {
    case DefaultNames::one:
      return "sdgen-{seed}";
    case DefaultNames::numbered:
      return "{index:05}-{seed}";
    case DefaultNames::inputs:
      return "{input}-{seed}";
    case DefaultNames::numbered_inputs:
      return "{index:05}-{input}-{seed}";
  }
  return "";
}

}  // namespace

NameTemplate output_template(const std::optional<std::string>& output, DefaultNames names, const ImageFormat* given) {
  const std::string file = concat(default_name(names), output_format(output, given).ending);
  if (!output) return NameTemplate(file);
  if (is_folder(*output)) return NameTemplate(*output + (output->ends_with('/') ? "" : "/") + file);

  const NameTemplate name(*output);
  const bool by_input = names == DefaultNames::inputs;
  if (names != DefaultNames::one && !name.tells_pictures_apart() && !(by_input && name.tells_inputs_apart())) {
    throw Error(Fault::usage,
                concat("--output: several pictures need {index}", by_input ? ", {input}" : "",
                       " or {seed} in their name, '", printable(*output), by_input ? "' has none" : "' has neither"));
  }
  return name;
}

bool names_one_file(const std::string& output) { return !is_folder(output) && NameTemplate(output).is_fixed(); }

std::string safe_file_name(std::string_view text, std::size_t max_bytes) {
  std::string name;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    for (const char c : text.substr(0, valid)) {
      if (!unsafe(c)) {
        name += c;
      } else if (!name.empty() && name.back() != '_') {
        name += '_';
      }
    }
    if (valid < text.size() && !name.empty() && name.back() != '_') name += '_';
    text.remove_prefix(std::min(text.size(), valid + 1));
  }
  const auto at_ends = [](char c) { return c == '.' || c == '-' || c == '_'; };
  name.erase(name.begin(), std::find_if_not(name.begin(), name.end(), at_ends));
  name.resize(valid_utf8_prefix(std::string_view(name).substr(0, max_bytes)));
  while (!name.empty() && at_ends(name.back())) name.pop_back();
  return name.empty() ? "untitled" : name;
}

}  // namespace sdgen::cli
