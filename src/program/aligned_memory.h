// What becomes of posix_memalign() and mmap() in this program where there is no memory.
#pragma once

namespace sdgen {

// Is this code of libtorch_cpu, which has oneDNN in it?
bool is_in_libtorch_cpu(const void* address);

}  // namespace sdgen
