#include "cli/record.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "cli/batch_file.h"
#include "cli/option_row.h"
#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr std::array kBeside = {"sdgen", "scheduler_used", "prediction_type_used", "quality_used", "hashes"};

OrderedJson hashes(const PictureFacts& made) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, hash] : {std::pair{"model", &made.hashes.model},
                                  {"unet", &made.hashes.backbone},
                                  {"vae", &made.hashes.vae},
                                  {"refiner", &made.hashes.refiner}})
    if (!hash->empty()) json[key] = *hash;
  for (const std::string& hash : made.hashes.text_encoders) json["text_encoder"].push_back(hash);
  for (const LoraInfo& lora : made.loras) json["lora"].push_back(lora.hash);
  for (const TextualInversionInfo& info : made.model.textual_inversions) json["textual_inversion"].push_back(info.hash);
  for (const ControlInfo& info : made.model.controls)
    json[info.kind == ControlInfo::Kind::controlnet ? "controlnet" : "t2i_adapter"].push_back(info.hash);
  for (const OptionRow& row : recorded_options()) {
    if (!names_input_picture(row)) continue;
    for (const std::string& path : values_of(made.sources.given, row.name())) {
      const auto found = std::ranges::find(made.sources.pictures, path, &RecordedInputs::File::path);
      if (found != made.sources.pictures.end()) json[key_of(row.name())].push_back(found->sha256);
    }
  }
  return json;
}

// A string, or the strings of a list; no others.
std::vector<std::string> strings(const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> all;
  if (value.is_array())
    for (const Json& each : value)
      if (each.is_string()) all.push_back(each.get<std::string>());
  return all;
}

}  // namespace

const std::vector<OptionRow>& recorded_options() {
  static const std::vector<OptionRow> rows = [] {
    std::vector<OptionRow> all = option_rows();
    std::erase_if(all, [](const OptionRow& row) { return !row.get; });
    std::stable_partition(all.begin(), all.end(), [](const OptionRow& row) { return row.scope == Scope::picture; });
    return all;
  }();
  return rows;
}

OrderedJson record(const PictureFacts& made) {
  OrderedJson json{{"sdgen", SDGEN_VERSION}};
  for (const OptionRow& row : recorded_options())
    if (const OrderedJson value = row.recorded_value(made); !value.is_null()) json[key_of(row.name())] = value;
  json["scheduler_used"] = made.scheduler.name;
  if (made.request.prediction_type) json["prediction_type_used"] = *made.request.prediction_type;
  if (made.quality) json["quality_used"] = *made.quality;
  json["hashes"] = hashes(made);
  return json;
}

std::string record_text(const PictureFacts& made) { return line_of_json(record(made), /*ascii=*/true); }

Settings named(const Settings& given) {
  Settings files;
  std::ranges::copy_if(given, std::back_inserter(files), [](const Setting& s) {
    const OptionRow* row = find(recorded_options(), s.option);
    return row && row->from_given;
  });
  return files;
}

bool is_recorded(std::string_view option) {
  return std::ranges::find(recorded_options(), option, &OptionRow::name) != recorded_options().end();
}

ReadRecord read_record(std::string_view text) {
  Json json;
  try {
    json = parse_json(text, "sdgen's record", 4, 10'000);
  } catch (const Error& error) {
    throw Error(Fault::usage, error.what());
  }
  if (!json.is_object() || !json.contains("sdgen")) throw Error(Fault::usage, "it is not a record of sdgen");
  ReadRecord found;
  Json options = Json::object();
  for (const auto& [key, value] : json.items()) {
    if (is_recorded(option_of_key(key)))
      options[key] = value;
    else if (std::ranges::find(kBeside, key) == kBeside.end())
      found.unknown.push_back(key);
  }
  found.settings = settings_of(options);
  if (const auto hashes = json.find("hashes"); hashes != json.end() && hashes->is_object())
    for (const auto& [key, value] : hashes->items()) found.hashes.emplace_back(key, strings(value));
  return found;
}

}  // namespace sdgen::cli
