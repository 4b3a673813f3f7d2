#include "io/json.h"

#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr double kInfinite = 9.9e307;  // parse_json takes greater magnitudes for infinity

// Builds the value while nlohmann parses, because only here duplicate keys, depth and count can be seen in time. The
// stack lies on the heap, so nesting costs no call depth.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::string& who, int max_depth, std::size_t max_values)
      : who_(who), max_depth_(max_depth), max_values_(max_values) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override {
    if (std::abs(value) >= kInfinite) value = std::copysign(std::numeric_limits<double>::infinity(), value);
    return put(value);
  }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no text holds one
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [place, is_new] = stack_.back()->emplace(name, nullptr);
    if (!is_new) fail("has the key '" + printable(name) + "' twice in one object");
    member_ = &place.value();
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    std::string what = error.what();
    if (const auto end_of_id = what.find("] "); end_of_id != std::string::npos) what.erase(0, end_of_id + 2);
    fail("is not valid JSON: " + printable(what, 400));
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(Fault::input, who_ + ": " + what); }

  bool put(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (stack_.size() == static_cast<std::size_t>(max_depth_)) fail(concat("is nested deeper than ", max_depth_));
    stack_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  // Pointers on the stack stay valid: a container grows only while none of its children is open.
  Json* place(Json value) {
    if (++count_ > max_values_) fail(concat("holds more than ", max_values_, " values"));
    if (stack_.empty()) return &(root_ = std::move(value));
    if (stack_.back()->is_object()) return &(*member_ = std::move(value));
    stack_.back()->push_back(std::move(value));
    return &stack_.back()->back();
  }

  const std::string& who_;
  const int max_depth_;
  const std::size_t max_values_;
  std::size_t count_ = 0;
  Json root_;
  std::vector<Json*> stack_;  // the open containers
  Json* member_ = nullptr;    // where the value of the last key goes
};

// Puts a number beyond kInfinite, of the same length, in the place of Python's Infinity outside of strings.
std::string without_infinity(std::string_view text) {
  static constexpr std::string_view infinity = "Infinity", number = "9.9E+307";
  std::string out(text);
  bool in_string = false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (in_string && out[i] == '\\') {
      ++i;
    } else if (out[i] == '"') {
      in_string = !in_string;
    } else if (!in_string && std::string_view(out).substr(i).starts_with(infinity)) {
      out.replace(i, number.size(), number);
    }
  }
  return out;
}

// A value for a message. Containers are only named: the depth of the file decides how much dump() would recurse.
std::string describe(const Json& value) {
  if (value.is_array()) return concat("a list of ", value.size());
  if (value.is_object()) return concat("an object of ", value.size());
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 80);
}

bool fits_int64(const Json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() || value.get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max();
}

bool is_finite_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

}  // namespace

Json parse_json(std::string_view text, const std::string& who, int max_depth, std::size_t max_values) {
  if (text.empty()) throw Error(Fault::input, who + ": is empty, expected JSON");
  if (const auto at = text.find('\0'); at != std::string_view::npos) {
    throw Error(Fault::input, concat(who, ": is not valid JSON: NUL byte at offset ", at));
  }
  if (const std::size_t valid = valid_utf8_prefix(text); valid != text.size()) {
    throw Error(Fault::input, concat(who, ": is not valid UTF-8 at offset ", valid));
  }
  Builder builder(who, max_depth, max_values);
  if (text.find("Infinity") == std::string_view::npos) {
    Json::sax_parse(text, &builder);
  } else {
    Json::sax_parse(without_infinity(text), &builder);
  }
  return builder.take();
}

Json read_json(const std::filesystem::path& path, std::uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path.string());
}

Config::Config(Json object, std::string who) : json_(std::move(object)), who_(std::move(who)) {
  if (!json_.is_object()) throw Error(Fault::input, who_ + ": is " + describe(json_) + ", expected a JSON object");
}

Config Config::read(const std::filesystem::path& path) { return Config(read_json(path), path.string()); }

const Json* Config::find(std::string_view key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

bool Config::has(std::string_view key) const { return find(key) != nullptr; }

void Config::wrong(std::string_view key, const Json& found, const std::string& expected) const {
  throw Error(Fault::input, concat(who_, ": '", printable(key), "' is ", describe(found), ", expected ", expected));
}

bool Config::boolean(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

std::int64_t Config::integer(std::string_view key, std::int64_t fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!fits_int64(*value)) wrong(key, *value, "an integer of 64 bits");
  return value->get<std::int64_t>();
}

double Config::number(std::string_view key, double fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) wrong(key, *value, "a number");
  const double number = value->get<double>();
  if (std::isinf(number) && !std::isinf(fallback)) {
    throw Error(Fault::input, concat(who_, ": '", printable(key), "' is infinite, expected a finite number"));
  }
  return number;
}

double Config::positive(std::string_view key, double fallback) const {
  const double value = number(key, fallback);
  if (!(value > 0)) wrong(key, *find(key), "a number above 0");
  return value;
}

std::string Config::string(std::string_view key, const std::string& fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) wrong(key, *value, "a string");
  return value->get<std::string>();
}

// The elements of the list at `key` as `read` gives them: an optional that is empty for what is not one `of` these.
template <class Read>
auto Config::list(std::string_view key, const std::string& of, Read read) const {
  std::vector<typename std::invoke_result_t<Read, const Json&>::value_type> out;
  const Json* value = find(key);
  if (value == nullptr) return out;
  if (!value->is_array()) wrong(key, *value, "a list of " + of);
  if (value->empty()) wrong(key, *value, concat("a list of ", of, " with something in it, or none"));
  out.reserve(value->size());
  for (const Json& element : *value) {
    auto read_element = read(element);
    if (!read_element) wrong(concat(key, "[", out.size(), "]"), element, concat("a list of ", of));
    out.push_back(*std::move(read_element));
  }
  return out;
}

std::vector<std::int64_t> Config::integers(std::string_view key) const {
  return list(key, "integers", [](const Json& element) {
    return fits_int64(element) ? std::optional(element.get<std::int64_t>()) : std::nullopt;
  });
}

std::vector<double> Config::numbers(std::string_view key) const {
  return list(key, "finite numbers", [](const Json& element) {
    return is_finite_number(element) ? std::optional(element.get<double>()) : std::nullopt;
  });
}

std::vector<std::string> Config::strings(std::string_view key) const {
  return list(key, "strings", [](const Json& element) {
    return element.is_string() ? std::optional(element.get<std::string>()) : std::nullopt;
  });
}

std::vector<std::int64_t> Config::integers(std::string_view key, std::size_t count, std::int64_t fallback) const {
  const Json* value = find(key);
  if (value == nullptr || !value->is_array()) return std::vector<std::int64_t>(count, integer(key, fallback));
  if (value->size() != count) wrong(key, *value, concat("one integer or a list of ", count));
  return integers(key);
}

void Config::unsupported(std::string_view key, const std::string& why) const {
  const Json* value = find(key);
  throw Error(Fault::input, concat(who_, ": ", printable(key), " = ", value == nullptr ? "null" : describe(*value),
                                   " is not supported (", why, ")"));
}

void Config::require(std::string_view key, const Json& only) const {
  const Json* value = find(key);
  if (value != nullptr && *value != only) unsupported(key, "only " + describe(only) + " is");
}

}  // namespace sdgen
