// Reading JSON that others wrote: bounded, strict, and with errors that name file and key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // its keys stay in the order in which they were added

// Parses UTF-8 text (RFC 8259). Refuses what nlohmann lets pass: NUL bytes (it takes one for the end), duplicate keys,
// nesting deeper than `max_depth` ("[[1]]" has depth 2), more than `max_values` values in all (a value costs up to
// about 100 bytes of memory). Takes Python's Infinity and -Infinity, which diffusers writes into scheduler configs
// (lambda_min_clipped), and so reads numbers beyond +-9.9e307 as infinite. `who` names the source in errors
// (Error(input)).
Json parse_json(std::string_view text, const std::string& who, int max_depth = 16, std::size_t max_values = 10'000'000);

// Reads and parses a whole file of at most `max_bytes`. Throws Error(input).
Json read_json(const std::filesystem::path& path, std::uint64_t max_bytes = 64u << 20);

// A JSON object that knows which file it came from. Getters throw Error(input) naming file, key, expected and found.
// They convert nothing: 1.0 and "1" are not integers, 1 is not a boolean; a number may be written as an integer.
class Config {
 public:
  Config(Json object, std::string who);
  static Config read(const std::filesystem::path& path);

  const std::string& who() const { return who_; }
  const Json& json() const { return json_; }
  bool has(std::string_view key) const;  // present and not null

  // With a fallback for absent or null keys. A number may be infinite only where the fallback is.
  bool boolean(std::string_view key, bool fallback) const;
  std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  double number(std::string_view key, double fallback) const;
  double positive(std::string_view key, double fallback) const;  // a number above 0
  std::string string(std::string_view key, const std::string& fallback) const;

  // Lists; an absent or null key gives an empty one, which no file says otherwise. Their numbers are finite.
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;
  // A list of `count` integers, or one integer for all of them.
  std::vector<std::int64_t> integers(std::string_view key, std::size_t count, std::int64_t fallback) const;

  // Throws Error(input) "FILE: KEY = VALUE is not supported (WHY)".
  [[noreturn]] void unsupported(std::string_view key, const std::string& why) const;
  // Requires the value of `key`, where it is present and not null, to be `only`.
  void require(std::string_view key, const Json& only) const;

 private:
  const Json* find(std::string_view key) const;  // null when absent or null
  [[noreturn]] void wrong(std::string_view key, const Json& found, const std::string& expected) const;
  template <class Read>
  auto list(std::string_view key, const std::string& of, Read read) const;

  Json json_;
  std::string who_;
};

// A JSON value on one line: bytes that are not UTF-8 are U+FFFD, control characters are spelt out, DEL too, which the
// library takes for none; with `ascii` everything beyond ASCII is.
template <class AnyJson>
std::string line_of_json(const AnyJson& json, bool ascii = false) {
  std::string text = json.dump(-1, ' ', ascii, AnyJson::error_handler_t::replace);
  for (std::size_t at = 0; (at = text.find('\x7F', at)) != std::string::npos;) text.replace(at, 1, "\\u007f");
  return text;
}

}  // namespace sdgen
