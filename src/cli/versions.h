// What `sdgen --version` prints: the program, and every library in it.
#pragma once

#include <span>
#include <string>

namespace sdgen::cli {

struct Version {
  std::string of, is;
};

// "sdgen 0.1.0", then a line for each library: `linked` (libtorch and what it says it was built with) and those of the
// rooms below. Shared libraries tell the version that runs, headers the one that was compiled.
std::string version_text(std::span<const Version> linked);

}  // namespace sdgen::cli
