// What the bytes of pictures depend on beside their requests ("The same bytes" in src/README.md).
#pragma once

#include "cli/metadata.h"

namespace sdgen {

// This machine and this build, with as many threads as libtorch computes with now.
cli::Machine machine();

}  // namespace sdgen
