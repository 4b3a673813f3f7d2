// What goes wrong on a device, as an error of ours.
#pragma once

#include <string>

#include "device/device.h"
#include "sdgen/error.h"

namespace sdgen {

struct OutOfMemory : Error {
  explicit OutOfMemory(const std::string& lack)
      : Error(Fault::device,
              concat(lack, "; try a smaller size, ", FieldName{"batch_size"}, " or ", FieldName{"precision"})),
        lack(lack) {}
  std::string lack;
};

// Runs `work`; what libtorch throws for lack of memory or a failing device becomes an Error(device) that says what was
// being done.
template <class Work>
auto on_device(const std::string& doing, const Work& work) {
  try {
    return work();
  } catch (...) {
    const auto failure = device_failure();
    if (!failure) throw;
    if (!failure->memory) throw Error(Fault::device, concat(doing, ": ", failure->what));
    throw OutOfMemory(concat(doing, ": ", failure->what));
  }
}

}  // namespace sdgen
