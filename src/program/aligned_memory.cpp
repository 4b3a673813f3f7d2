// oneDNN takes what posix_memalign() gives without looking, and crashes where it gives nothing; where mmap() has no
// place for code that it is about to write, it goes on with a function that is not there. So in this program both give
// back what is kept for later first; then the code of libtorch_cpu, where oneDNN is, gets an exception, as of C++'s own
// allocation, which all of its callers there let pass, and everyone else the error that they look at. The executable's
// definitions are the ones that all libraries get.
#include "program/aligned_memory.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <new>
#include <string_view>

#include "io/lack_of_memory.h"

bool sdgen::is_in_libtorch_cpu(const void* address) {
  Dl_info library;
  if (dladdr(address, &library) == 0) return false;
  const std::string_view path = library.dli_fname;
  return path.substr(path.rfind('/') + 1).starts_with("libtorch_cpu.");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these have their own, and never fail

// glibc's header declares that it throws nothing: another name here, the same one for the linker.
extern "C" __attribute__((visibility("default"), used)) int throwing_posix_memalign(
    void** out, std::size_t alignment, std::size_t size) __asm__("posix_memalign");

int throwing_posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  using Function = int (*)(void**, std::size_t, std::size_t);
  static const auto libc = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "posix_memalign"));
  int error = libc(out, alignment, size);
  if (error != ENOMEM) return error;
  if (const auto give_back = sdgen::give_back_memory.load()) {
    give_back();
    error = libc(out, alignment, size);
  }
  if (error == ENOMEM && sdgen::is_in_libtorch_cpu(__builtin_return_address(0))) throw std::bad_alloc();
  return error;
}

namespace {

using Map = void* (*)(void*, std::size_t, int, int, int, off_t);

void* mapped(void* at, std::size_t size, int protection, int flags, int file, off_t offset, const void* caller) {
  static const auto libc = reinterpret_cast<Map>(dlsym(RTLD_NEXT, "mmap"));
  void* found = libc(at, size, protection, flags, file, offset);
  if (found != MAP_FAILED || errno != ENOMEM) return found;
  if (const auto give_back = sdgen::give_back_memory.load()) {
    give_back();
    found = libc(at, size, protection, flags, file, offset);
  }
  if (found == MAP_FAILED && sdgen::is_in_libtorch_cpu(caller)) throw std::bad_alloc();
  return found;
}

}  // namespace

extern "C" {
__attribute__((visibility("default"), used)) void* throwing_mmap(void*, std::size_t, int, int, int,
                                                                 off_t) __asm__("mmap");
__attribute__((visibility("default"), used)) void* throwing_mmap64(void*, std::size_t, int, int, int,
                                                                   off_t) __asm__("mmap64");
}

void* throwing_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
  return mapped(at, size, protection, flags, file, offset, __builtin_return_address(0));
}
void* throwing_mmap64(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
  return mapped(at, size, protection, flags, file, offset, __builtin_return_address(0));
}

#endif
