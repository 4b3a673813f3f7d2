// Any bytes are JSON whose values all getters read or refuse with Error(input), or are themselves refused so.
#include "fuzz.h"
#include "io/json.h"

using namespace sdgen;
using fuzz::accepts;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text = fuzz::text_of(bytes, size);
  Json json;
  if (!accepts({Fault::input}, [&] { json = parse_json(text, "fuzz"); })) return 0;
  // What was accepted stays the same when it is written and read again.
  const std::string written = json.dump();
  fuzz::require(parse_json(written, "again").dump() == written, "written and read again", written);
  accepts({Fault::input}, [&] {
    const Config config(json, "fuzz");
    for (const auto& item : json.items()) {
      const std::string& key = item.key();
      const auto read = [](const auto& getter) { accepts({Fault::input}, getter); };
      read([&] { config.boolean(key, false); });
      read([&] { config.integer(key, 0); });
      read([&] { config.number(key, 0); });
      read([&] { config.string(key, ""); });
      read([&] { config.integers(key); });
      read([&] { config.numbers(key); });
      read([&] { config.strings(key); });
      read([&] { config.integers(key, 2, 0); });
      read([&] { config.require(key, 1); });
    }
  });
  return 0;
}
