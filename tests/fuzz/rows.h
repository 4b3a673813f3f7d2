// The command line's table of options.
#pragma once

#include <vector>

#include "cli/options.h"
#include "sdgen/sdgen.h"

namespace sdgen::fuzz {

// The table of schedulers lies beside the networks; the command line needs its names alone.
inline const std::vector<cli::OptionRow>& rows() {
  static const std::vector<SchedulerInfo> schedulers = {{"ddim", "DDIMScheduler", "one"},
                                                        {"euler", "EulerDiscreteScheduler", "two"},
                                                        {"euler-a", "E", "three"},
                                                        {"dpm++2m", "DPMSolverMultistepScheduler", "four"},
                                                        {"tcd", "TCDScheduler", "five"}};
  static const std::vector<cli::OptionRow> all = cli::option_rows(schedulers);
  return all;
}

}  // namespace sdgen::fuzz
