// Memory that can be given back when it runs out.
#pragma once

#include <atomic>

namespace sdgen {

// Called by posix_memalign() (src/program/aligned_memory.cpp) before it gives up; null until something is kept.
extern std::atomic<void (*)()> give_back_memory;

}  // namespace sdgen
