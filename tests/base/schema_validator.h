// A validator for the JSON Schema of lines and records.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <utility>

namespace sdgen {

// JSON Schema as far as ours goes (https://json-schema.org/draft/2020-12): a keyword that is not known here is a
// failure, not a pass.
class SchemaValidator {
  using Json = nlohmann::ordered_json;

 public:
  explicit SchemaValidator(Json root) : root_(std::move(root)) {}

  bool accepts(const Json& schema, const Json& value) const {
    return std::ranges::all_of(schema.items(),
                               [&](const auto& item) { return holds(schema, item.key(), item.value(), value); });
  }
  bool satisfies(const std::string& definition, const Json& value) const {
    return accepts(root_["$defs"][definition], value);
  }

 private:
  static bool is(const std::string& type, const Json& value) {
    return (type == "boolean" && value.is_boolean()) || (type == "integer" && value.is_number_integer()) ||
           (type == "number" && value.is_number()) || (type == "string" && value.is_string()) ||
           (type == "array" && value.is_array()) || (type == "object" && value.is_object()) ||
           (type == "null" && value.is_null());
  }
  bool holds(const Json& schema, const std::string& keyword, const Json& expected, const Json& value) const {
    const auto each = [&](const auto& good) { return std::ranges::all_of(value, good); };
    const auto any = [&](const auto& good) { return std::ranges::any_of(expected, good); };
    if (keyword == "type") return is(expected, value);
    if (keyword == "minimum") return !value.is_number() || value >= expected;
    if (keyword == "maximum") return !value.is_number() || value <= expected;
    if (keyword == "minLength")
      return !value.is_string() || value.get<std::string>().size() >= expected.get<std::size_t>();
    if (keyword == "pattern")
      return !value.is_string() || std::regex_search(value.get<std::string>(), std::regex(expected.get<std::string>()));
    if (keyword == "enum") return any([&](const Json& word) { return word == value; });
    if (keyword == "anyOf") return any([&](const Json& one) { return accepts(one, value); });
    if (keyword == "items") return !value.is_array() || each([&](const Json& one) { return accepts(expected, one); });
    if (keyword == "required")
      return std::ranges::all_of(expected, [&](const Json& key) { return value.contains(key.get<std::string>()); });
    if (keyword == "$ref") return accepts(root_.at(Json::json_pointer(expected.get<std::string>().substr(1))), value);
    if (keyword == "properties")
      return std::ranges::all_of(expected.items(), [&](const auto& p) {
        return !value.contains(p.key()) || accepts(p.value(), value[p.key()]);
      });
    if (keyword == "additionalProperties")
      return std::ranges::all_of(value.items(), [&](const auto& p) {
        return (schema.contains("properties") && schema["properties"].contains(p.key())) ||
               (expected.is_object() && accepts(expected, p.value()));
      });
    EXPECT_TRUE(keyword == "description" || keyword == "examples" || keyword == "title" || keyword == "$schema" ||
                keyword == "$defs")
        << keyword;
    return true;
  }

  Json root_;
};

}  // namespace sdgen
