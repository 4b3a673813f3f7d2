// `sdgen compare`: pictures held against pictures, without a network.
#pragma once

#include "cli/options.h"

namespace sdgen::cli {

// Compares what the two paths of options.process are: pictures, folders or manifests. A folder's pictures meet those of
// the other one with the same name, else the only one of that name with another ending; where a manifest's picture is
// not there, its SHA-256 stands for it. Returns the exit code: 0, 1 (some differ, or have no partner), 3 (some cannot
// be read). Throws Error (input: a path is nothing that can be compared; output) and Cancelled; the report is written
// then, too.
int compare(const Options& options);

}  // namespace sdgen::cli
