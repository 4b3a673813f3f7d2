// Whether something can be written, found without leaving a trace.
#pragma once

#include <filesystem>

namespace sdgen {

// `folder` ("": the current one), or the nearest one above it that is there. Throws Error(output) where that is no
// folder, or cannot be looked at.
std::filesystem::path folder_for(const std::filesystem::path& folder);

// Throws Error(output) where the file is there and may not be written, or where none can be made in folder_for() its
// own: found by writing a file without a name there (O_TMPFILE), which no folder shows, and whose time stays; where the
// file system has no such files, by permissions alone.
void require_writable(const std::filesystem::path& file);

}  // namespace sdgen
