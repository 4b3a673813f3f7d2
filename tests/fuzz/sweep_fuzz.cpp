// Any text is a sweep with at most 10,000 cells, whose values the options take, or is refused with Error(usage).
#include "cli/options.h"
#include "cli/sweep.h"
#include "fuzz.h"
#include "rows.h"

using namespace sdgen;
using fuzz::accepts;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::vector<cli::OptionRow>& rows = fuzz::rows();
  accepts({Fault::usage}, [&] {
    const cli::Sweep sweep(std::string(fuzz::text_of(bytes, size)), rows);
    fuzz::require(sweep.cells() >= 1 && sweep.cells() <= 10'000, "a number of cells");
    for (const std::size_t index : {std::size_t{0}, sweep.cells() / 2, sweep.cells() - 1}) {
      cli::Options options;
      cli::apply(cli::checked(sweep.cell(index), rows), rows, options);
    }
    fuzz::require(
        sweep.column_headings().size() * std::max<std::size_t>(sweep.row_headings().size(), 1) == sweep.cells(),
        "headings make a table of the cells");
  });
  return 0;
}
