// Every text is a prompt that chooses, with any lists: the choice is made, the same each time, or refused.
#include "cli/wildcards.h"
#include "fuzz.h"

using namespace sdgen;
using fuzz::accepts;

// Sections (see fuzz.h) are lists; what comes before them is the prompt, its first byte the seed.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const std::set<std::string> names = {"a.txt", "b.txt", "c.txt"};
  static const fuzz::Folder folder;
  std::string_view text = fuzz::text_of(bytes, size);
  const std::uint64_t seed = fuzz::take_byte(text);
  auto parts = fuzz::sections(text, names);
  for (const std::string& name : names) folder.write(name, parts[name]);
  cli::Wildcards wildcards(folder.path());
  accepts({Fault::usage, Fault::input}, [&] {
    const std::string chosen = wildcards.choose(parts[""], seed, 0);
    fuzz::require(chosen == cli::Wildcards(folder.path()).choose(parts[""], seed, 0), "the same choice", chosen);
    if (!cli::Wildcards::chooses(parts[""]) && parts[""].find_first_of("{}\\") == std::string::npos)
      fuzz::require(chosen == parts[""], "nothing to choose", chosen);
  });
  return 0;
}
