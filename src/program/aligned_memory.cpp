// oneDNN takes what posix_memalign() gives without looking, and crashes where it gives nothing. So in this program
// posix_memalign() does not fail: it gives back what is kept for later first, and then throws, as C++'s own allocation
// does, which all of its callers in libtorch let pass. The executable's definition is the one that all libraries get.
#include <dlfcn.h>

#include <cstddef>
#include <new>

#include "io/lack_of_memory.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these have their own, and never fail

// glibc's header declares that it throws nothing: another name here, the same one for the linker.
extern "C" __attribute__((visibility("default"), used)) int throwing_posix_memalign(
    void** out, std::size_t alignment, std::size_t size) __asm__("posix_memalign");

int throwing_posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  using Function = int (*)(void**, std::size_t, std::size_t);
  static const auto libc = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "posix_memalign"));
  if (libc(out, alignment, size) == 0) return 0;
  if (const auto give_back = sdgen::give_back_memory.load()) {
    give_back();
    if (libc(out, alignment, size) == 0) return 0;
  }
  throw std::bad_alloc();
}

#endif
