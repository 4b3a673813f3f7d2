// The command line's table of options.
#pragma once

#include <vector>

#include "cli/options.h"
#include "sdgen/sdgen.h"

namespace sdgen::fuzz {

inline const std::vector<cli::OptionRow>& rows() {
  static const std::vector<cli::OptionRow> all = cli::option_rows();
  return all;
}

}  // namespace sdgen::fuzz
