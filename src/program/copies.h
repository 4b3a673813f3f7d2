// Work that copies of this process share.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace sdgen::cli {

// Says a line to the process that the copies are of. Thread-safe.
using Say = std::function<void(const std::string& line)>;

// Makes `count` copies of this process, has each of them do `work(number, say)`, number < count, and calls `hear` with
// the lines that they say, as they come. To be called before libsdgen_core.so is opened: a copy has one thread, and
// locks of others would stay locked in it. When one throws, the others are ended, and its error is thrown here. Throws
// Error(device) for a copy that a signal ended, and Cancelled as soon as `cancelled` says so.
void in_copies(int count, const std::function<void(int number, const Say& say)>& work,
               const std::function<void(std::string_view line)>& hear, const std::function<bool()>& cancelled);

}  // namespace sdgen::cli
