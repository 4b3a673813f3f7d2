// Memory that runs out: how libtorch says so, and what can be given back then.
#pragma once

#include <atomic>
#include <string_view>

namespace sdgen {

// Libtorch's errors for lack of memory have no type of their own on the CPU, nor where they come from cuBLAS. `what`:
// such an error's text.
bool says_lack_of_memory(std::string_view what);

// Called by posix_memalign() and mmap() (src/program/aligned_memory.cpp) before they give up; null until something is
// kept.
extern std::atomic<void (*)()> give_back_memory;

}  // namespace sdgen
