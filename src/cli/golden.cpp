#include "cli/golden.h"

#include <algorithm>
#include <set>

#include "cli/fields.h"
#include "cli/from_image.h"
#include "cli/option_row.h"
#include "cli/picture_set.h"
#include "cli/record.h"
#include "cli/settings.h"
#include "image/picture.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownDigits = 10;  // of a SHA-256
constexpr std::size_t kShownValue = 60;   // bytes of a setting

// As a manifest has it; nothing where it does not.
std::optional<Machine> machine_of(const Json& line) {
  const auto found = line.find("machine");
  if (found == line.end() || !found->is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto value = found->find(key);
    return value != found->end() && value->is_string() ? value->get<std::string>() : "";
  };
  const auto threads = found->find("threads");
  const bool counted = threads != found->end() && threads->is_number_integer();
  return Machine{text("cpu"), text("build"), counted ? threads->get<int>() : 0};
}

// What the manifest's line says, where it is about these very bytes.
void add_line(Golden& golden, const Json& line) {
  if (!line.is_object()) return;
  if (golden.record.is_null() && line.contains("sdgen")) golden.record = line;
  if (const auto device = line.find("device"); device != line.end() && device->is_string())
    golden.device = device->get<std::string>();
  golden.machine = machine_of(line);
}

Golden golden_of(const NamedPicture& picture) {
  Golden golden{.file = picture.file, .there = present(picture.file), .sha256 = picture.sha256};
  try {
    if (golden.there) {
      const std::string bytes = read_picture_file(picture.file), who = printable(picture.file.string());
      golden.sha256 = sha256_of(bytes);
      if (const std::string record = record_in(bytes, who); !record.empty()) {
        golden.record = parse_json(record, who + ": its record", 4, 10'000);
        golden.says_so = true;
      }
    }
    if (picture.sha256.empty() || picture.sha256 == golden.sha256) add_line(golden, picture.line);
    if (!golden.record.is_object())
      golden.problem = golden.there ? "does not say how it was made (no sdgen record)"
                                    : "is not there, and its manifest does not say how it was made";
  } catch (const Error& error) {
    if (error.fault() != Fault::input) throw;
    golden.problem = in_flags(error);
  }
  return golden;
}

// A folder's pictures with what its manifests say of them.
PictureSet with_manifests(const fs::path& folder) {
  PictureSet all = picture_set(folder);
  for (const fs::path& file : files_below(folder)) {
    if (file.extension() != ".jsonl" || !file.stem().string().starts_with("manifest")) continue;
    const fs::path below = file.parent_path().lexically_relative(folder);
    for (auto& [name, picture] : pictures_of_manifest(file)) {
      const auto known = all.find((below / name).lexically_normal().generic_string());
      if (known == all.end()) continue;
      known->second.sha256 = std::move(picture.sha256);
      known->second.line = std::move(picture.line);
    }
  }
  return all;
}

PictureSet pictures_at(const fs::path& path) {
  if (!present(path)) throw Error(Fault::input, concat(printable(path.string()), ": no such file or folder"));
  std::error_code error;
  if (fs::is_directory(path, error)) return with_manifests(path);
  if (is_manifest(path)) return picture_set(path);
  return {{path.string(), {path}}};
}

std::string shown(const Json& value) {
  return value.is_null() ? "not said"
                         : printable(value.is_string() ? value.get<std::string>() : value.dump(), kShownValue);
}

// The first digits of every hash of a key: a text, or a list.
std::string digits(const Json& hashes) {
  std::vector<std::string> all;
  for (const Json& hash : hashes.is_array() ? hashes : Json::array({hashes}))
    all.push_back(hash.is_string() ? printable(hash.get<std::string>().substr(0, kShownDigits)) : "unknown");
  return joined(all);
}

Json value_of(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

}  // namespace

std::vector<Golden> goldens(const std::vector<std::string>& paths, std::size_t every) {
  std::vector<Golden> found;
  std::size_t number = 0;
  for (const std::string& path : paths) {
    const PictureSet all = pictures_at(path);
    for (const auto& [name, picture] : all) {
      if (is_sheet(name, all)) continue;
      if (number++ % every == 0) found.push_back(golden_of(picture));
    }
  }
  return found;
}

std::optional<int> quality_of(const Json& record) {
  const auto said = record.find("quality_used");
  if (said == record.end() || !said->is_number_integer()) return std::nullopt;
  const auto quality = said->get<std::int64_t>();
  return quality >= 1 && quality <= 100 ? std::optional(int(quality)) : std::nullopt;
}

std::vector<std::string> changes(const Json& then, const OrderedJson& now) {
  const Json after = Json::parse(now.dump());
  std::vector<std::string> found;
  if (value_of(then, "sdgen") != after["sdgen"])
    found.push_back(concat("sdgen ", shown(value_of(then, "sdgen")), " then, ", shown(after["sdgen"]), " now"));
  const Json old_hashes = value_of(then, "hashes"), new_hashes = value_of(after, "hashes");
  std::set<std::string> keys;
  for (const Json* hashes : {&old_hashes, &new_hashes})
    if (hashes->is_object())
      for (const auto& [key, hash] : hashes->items()) keys.insert(key);
  for (const std::string& key : keys) {
    const Json before = old_hashes.is_object() ? value_of(old_hashes, key) : Json(),
               current = value_of(new_hashes, key);
    if (!before.is_null() && !current.is_null() && before != current)
      found.push_back(concat("another file of ", printable(key, kShownValue), ": SHA-256 ", digits(before), " then, ",
                             digits(current), " now"));
  }
  for (const OptionRow& row : recorded_options()) {
    const std::string key = key_of(row.name());
    const bool names_file =
        row.from_given && (row.value.kind == Value::Kind::path || row.value.kind == Value::Kind::folder);
    if (names_file || key == "lora") continue;
    if (const Json before = value_of(then, key), current = value_of(after, key); before != current)
      found.push_back(concat(key, ": ", shown(before), " then, ", shown(current), " now"));
  }
  if (value_of(then, "scheduler_used") != after["scheduler_used"])
    found.push_back(concat("scheduler ", shown(value_of(then, "scheduler_used")), " then, ",
                           shown(after["scheduler_used"]), " now"));
  return found;
}

}  // namespace sdgen::cli
