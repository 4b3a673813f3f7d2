// Any bytes are a TOML file of options, whose values they take, or are refused with Error(input).
#include "cli/defaults.h"
#include "cli/options.h"
#include "fuzz.h"
#include "rows.h"

using namespace sdgen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::vector<cli::OptionRow>& rows = fuzz::rows();
  const fuzz::MemoryFile file(fuzz::text_of(bytes, size));
  cli::Settings settings;
  if (!fuzz::accepts({Fault::input}, [&] { settings = cli::read_config(file.path().string(), rows); })) return 0;
  cli::Options options;  // nothing of it is an error later
  cli::apply(cli::checked(settings, rows), rows, options);
  return 0;
}
