#include "io/lack_of_memory.h"

namespace sdgen {

bool says_lack_of_memory(std::string_view what) {
  for (const std::string_view phrase : {"allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED"})
    if (what.find(phrase) != std::string_view::npos) return true;
  return what.ends_with("could not create a primitive");  // oneDNN had no room for its code
}

std::atomic<void (*)()> give_back_memory = nullptr;

}  // namespace sdgen
