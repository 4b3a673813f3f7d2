#include "io/weight_files.h"

#include <set>
#include <system_error>

#include "io/json.h"
#include "io/pickle.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxIndex = 64u << 20;  // bytes

// A link that leads nowhere counts: opening it gives a better error than looking further would.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

// An index comes with the model and must not make sdgen read anything but the model's own files.
bool is_plain_file_name(const std::string& name) {
  constexpr std::string_view forbidden("/\\\0", 3);
  return name.ends_with(".safetensors") && !name.starts_with('.') &&
         name.find_first_of(forbidden.data(), 0, forbidden.size()) == std::string::npos;
}

// The shards of an index file, each once, sorted: {"metadata": {...}, "weight_map": {TENSOR: FILE, ...}}.
std::vector<fs::path> shards_of(const fs::path& index) {
  const Config config(read_json(index, kMaxIndex), index.string());
  const auto fail = [&](const std::string& what) { throw Error(Fault::input, index.string() + ": " + what); };
  const auto weight_map = config.json().find("weight_map");
  if (weight_map == config.json().end() || !weight_map->is_object() || weight_map->empty()) {
    fail("has no weight_map that says which file holds which tensor");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map->items()) {
    if (!file.is_string()) fail("weight_map '" + printable(tensor) + "' is not a string");
    const auto& name = file.get_ref<const std::string&>();
    if (!is_plain_file_name(name)) {
      fail("weight_map '" + printable(tensor) + "' names '" + printable(name) +
           "', expected a .safetensors file name of the same folder");
    }
    names.insert(name);
  }
  std::vector<fs::path> shards;
  std::vector<std::string> missing;  // as many of them as an error has room for
  std::size_t missing_count = 0, length = 0;
  for (const std::string& name : names) {
    shards.push_back(index.parent_path() / name);
    if (is_there(shards.back())) continue;
    ++missing_count;
    if (length < 1000) length += missing.emplace_back(printable(name)).size();
  }
  if (missing_count > 0) {
    fail(concat(missing_count, " of ", names.size(), " shards are missing: ", joined(missing),
                " (incomplete download?)"));
  }
  return shards;
}

// Why there is nothing to read, from what is there instead.
[[noreturn]] void nothing_found(const fs::path& folder, const std::string& stem) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    throw Error(Fault::input, folder.string() + ": no such folder, expected one with " + stem + ".safetensors");
  }
  std::set<std::string> shards, pickles;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (entry->path().extension() == ".safetensors") shards.insert(printable(name));
    if (is_pickle_name(entry->path())) pickles.insert(printable(name));
  }
  std::string what = concat(folder.string(), ": has no ", stem, ".safetensors, no ", stem,
                            ".safetensors.index.json and no .fp16 form of them");
  if (!shards.empty()) {
    what += concat("; it has ", *shards.begin(), shards.size() > 1 ? concat(" and ", shards.size() - 1, " more") : "",
                   " (an incomplete download, or another variant?)");
  } else if (!pickles.empty()) {
    what += concat("; its ", *pickles.begin(), " ", pickle_refusal());
  } else {
    what += " (incomplete download?)";
  }
  throw Error(Fault::input, what);
}

}  // namespace

std::vector<fs::path> find_weight_files(const fs::path& folder, const std::string& stem) {
  // diffusers' spellings of the variant's index changed over time; the shards' own names come from the index.
  const fs::path single = folder / (stem + ".safetensors");
  if (is_there(single)) return {single};
  const fs::path index = folder / (stem + ".safetensors.index.json");
  if (is_there(index)) return shards_of(index);
  const fs::path half = folder / (stem + ".fp16.safetensors");
  if (is_there(half)) return {half};
  for (const char* ending : {".safetensors.index.fp16.json", ".fp16.safetensors.index.json"}) {
    const fs::path half_index = folder / (stem + ending);
    if (is_there(half_index)) return shards_of(half_index);
  }
  nothing_found(folder, stem);
}

}  // namespace sdgen
