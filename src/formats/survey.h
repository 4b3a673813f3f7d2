// What is known of a network before it is loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sdgen {

// What a network reads of the files that it is in, found by building it without its numbers: no tensor is read.
struct Survey {
  std::int64_t parameters = 0;                          // numbers
  std::uint64_t bytes = 0;                              // as they are stored
  std::map<std::string, std::size_t> dtypes;            // stored type -> how many tensors
  std::map<std::string, std::uint64_t> bytes_of_dtype;  // stored type -> bytes, scales included
  std::uint64_t coded = 0;                              // bytes of what stays in codes on the CPU
  std::uint64_t widened = 0;                            // numbers of all others
  std::uint64_t memory = 0;                             // bytes on the CPU, where the network computes in its own type
  // Tensors that belong to the network by their prefix and that it would not read. Leftovers of training do not count.
  std::vector<std::string> unread;
};

}  // namespace sdgen
