// Any bytes are JSON whose values all getters read or refuse with Error(input), or are themselves refused so.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "io/json.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace {

template <class Action>
void run(Action action) {
  try {
    action();
  } catch (const sdgen::Error& error) {
    if (error.fault() != sdgen::Fault::input) std::abort();
    const std::string_view message = error.what();
    if (sdgen::valid_utf8_prefix(message) != message.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  run([&] {
    const sdgen::Json json = sdgen::parse_json(text, "fuzz");
    // What was accepted stays the same when it is written and read again.
    const std::string written = json.dump();
    if (sdgen::parse_json(written, "again").dump() != written) std::abort();
    const sdgen::Config config(json, "fuzz");
    for (const auto& item : json.items()) {
      const std::string& key = item.key();
      run([&] { config.boolean(key, false); });
      run([&] { config.integer(key, 0); });
      run([&] { config.number(key, 0); });
      run([&] { config.string(key, ""); });
      run([&] { config.integers(key); });
      run([&] { config.numbers(key); });
      run([&] { config.strings(key); });
      run([&] { config.integers(key, 2, 0); });
      run([&] { config.require(key, 1); });
    }
  });
  return 0;
}
