#include "cli/schema.h"

#include "cli/record.h"
#include "cli/settings.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// A single value of the option.
OrderedJson value_schema(const Value& value) {
  switch (value.kind) {
    case Value::Kind::none:
      return {{"type", "boolean"}};
    case Value::Kind::integer:
      return {{"type", "integer"},
              {"minimum", value.by_chance ? OrderedJson(-1) : OrderedJson(value.least)},
              {"maximum", value.most}};
    case Value::Kind::real:
      return {{"type", "number"}, {"minimum", value.low}, {"maximum", value.high}};
    case Value::Kind::words:
      return {{"enum", value.words}};
    case Value::Kind::path:
    case Value::Kind::folder:
      return {{"type", "string"}, {"minLength", 1}};
    case Value::Kind::text:
      break;
  }
  OrderedJson text{{"type", "string"}};
  if (!value.pattern.empty()) text["pattern"] = concat("^(?:", value.pattern, ")$");
  if (!value.words.empty()) text["examples"] = value.words;
  return text;
}

OrderedJson option_schema(const OptionRow& row) {
  OrderedJson value = value_schema(row.value);
  if (row.repeatable) value = {{"anyOf", {value, {{"type", "array"}, {"items", value}}}}};
  value["description"] = row.help;
  return value;
}

OrderedJson reference(const OptionRow& row) {
  return {{"$ref", concat("#/$defs/options/properties/", key_of(row.name()))}};
}

// What a record has beside options.
OrderedJson record_properties(std::span<const OptionRow> rows) {
  const OrderedJson text{{"type", "string"}};
  return {
      {"sdgen", {{"type", "string"}, {"description", "the version that made it"}}},
      {"scheduler_used", {{"type", "string"}, {"description", "the scheduler that ran"}}},
      {"prediction_type_used",
       {{"enum", find(rows, "--prediction-type")->value.words}, {"description", "what the network predicts"}}},
      {"hashes",
       {{"type", "object"},
        {"additionalProperties", {{"anyOf", {text, {{"type", "array"}, {"items", text}}}}}},
        {"description", "SHA-256 of the files that an option names; of adapters, AUTOMATIC1111's digits"}}},
  };
}

// A line of --progress json.
OrderedJson progress_schema() {
  const auto count = [](const char* what, int least) {
    return OrderedJson{{"type", "integer"}, {"minimum", least}, {"description", what}};
  };
  OrderedJson pictures{{"anyOf", {{{"type", "integer"}, {"minimum", 1}}, {{"type", "null"}}}}};
  pictures["description"] = "of so many in this run; null: nobody knows, a pipe is open";
  OrderedJson file{{"anyOf", {{{"type", "string"}}, {{"type", "null"}}}}};
  file["description"] = "where the picture will be; null: stdout";
  return {{"description",
           "a line of --progress json on stderr: a step of a picture has ended, a preview of it is written, or it is "
           "finished itself"},
          {"type", "object"},
          {"properties",
           {{"picture", count("its number in this run, from 1", 1)},
            {"pictures", pictures},
            {"file", file},
            {"step", count("steps that have ended", 0)},
            {"of", count("steps in all", 0)},
            {"seconds", {{"type", "number"}, {"minimum", 0}, {"description", "since the model was loaded"}}},
            {"preview", {{"type", "string"}, {"description", "the preview that has just been written"}}},
            {"finished", {{"type", "boolean"}, {"description", "true: the picture is at its place"}}}}},
          {"required", {"picture", "pictures", "file", "step", "of", "seconds"}},
          {"additionalProperties", false}};
}

}  // namespace

OrderedJson schema(std::span<const OptionRow> rows) {
  OrderedJson options = OrderedJson::object(), line = OrderedJson::object(), record = record_properties(rows);
  for (const OptionRow& row : rows) {
    if (row.scope != Scope::picture && !row.get) continue;
    options[key_of(row.name())] = option_schema(row);
    if (row.get) record[key_of(row.name())] = reference(row);
    for (const std::string& flag : row.flags)
      if (row.scope == Scope::picture && flag.starts_with("--")) line[key_of(flag)] = reference(row);
  }
  return {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "sdgen " SDGEN_VERSION ": what a picture is made of"},
      {"anyOf", {{{"$ref", "#/$defs/line"}}, {{"$ref", "#/$defs/record"}}}},
      {"$defs",
       {{"options", {{"properties", options}}},
        {"line",
         {{"description", "a line of a .jsonl file for --prompts"},
          {"type", "object"},
          {"properties", line},
          {"additionalProperties", false}}},
        {"record",
         {{"description",
           "what sdgen says of a picture: in its metadata (PNG: the text 'sdgen'), in lines of --json and of "
           "manifests, "
           "which have more beside it (file, sha256, timings, ...)"},
          {"type", "object"},
          {"properties", record},
          {"required", {"sdgen", "scheduler_used", "hashes"}}}},
        {"progress", progress_schema()}}},
  };
}

}  // namespace sdgen::cli
