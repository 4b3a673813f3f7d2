// The command line's table of options.
#pragma once

#include <vector>

#include "cli/options.h"
#include "sdgen/sdgen.h"

namespace sdgen::fuzz {

inline const std::vector<cli::OptionRow>& rows() {
  static const std::vector<cli::OptionRow> all = cli::option_rows(scheduler_infos());
  return all;
}

}  // namespace sdgen::fuzz
