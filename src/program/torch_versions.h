// The versions of libtorch and of the kernels in it.
#pragma once

#include <vector>

#include "cli/versions.h"

namespace sdgen {

std::vector<cli::Version> torch_versions();

}  // namespace sdgen
