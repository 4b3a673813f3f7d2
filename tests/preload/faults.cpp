// LD_PRELOAD: fails a chosen call of a program. tools/faults.py makes the k-th fail for k = 1, 2, ... until none does.
//
// SDGEN_FAULT="CALL K ERRNO MODE FOLDER REPORT": the K-th CALL (open, fstat, read, pread, write, fsync, ftruncate,
// rename, link, mmap, memalign) on a file below FOLDER fails with ERRNO, once or always from then on ("once",
// "always"); "short" lets a read or write move half of what was asked for. Then the file REPORT appears. mmap and
// memalign have no file: there a call counts from 1 MiB and 64 KiB on. (oneDNN maps less for its code, and does not
// always look whether it got it.)
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Plan {
  char call[16], mode[16], folder[PATH_MAX], report[PATH_MAX];
  long which;
  int error;
};
Plan plan;
std::atomic<int> ready = 0;  // 1: being read, 2: there
std::atomic<long> seen = 0;
constexpr std::size_t kMapping = 1 << 20, kAllocation = 64 << 10;  // bytes

// The variable may come late: the fork server sets it after the program's start.
const Plan* find_plan() {
  if (ready.load() == 2) return &plan;
  const char* text = std::getenv("SDGEN_FAULT");
  int none = 0;
  if (text == nullptr || !ready.compare_exchange_strong(none, 1)) return nullptr;
  if (std::sscanf(text, "%15s %ld %d %15s %4095s %4095s", plan.call, &plan.which, &plan.error, plan.mode, plan.folder,
                  plan.report) != 6)
    _exit(99);
  ready.store(2);
  return &plan;
}

bool below(const char* path, const Plan& p) {
  char whole[PATH_MAX];
  if (path[0] != '/') {
    if (syscall(SYS_getcwd, whole, sizeof whole) < 0) return false;
    const std::size_t length = std::strlen(whole);
    std::snprintf(whole + length, sizeof whole - length, "/%s", path);
    path = whole;
  }
  return std::strncmp(path, p.folder, std::strlen(p.folder)) == 0;
}

bool below(int descriptor, const Plan& p) {
  char link[64], path[PATH_MAX] = {};
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  return syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1) > 0 && below(path, p);
}

// Counts a call; null: it is to be made as it is.
template <class Where>
const Plan* strike(const char* call, Where where) {
  const Plan* p = find_plan();
  if (p == nullptr || std::strcmp(p->call, call) != 0 || !below(where, *p)) return nullptr;
  const long number = ++seen;
  if (number < p->which || (number > p->which && std::strcmp(p->mode, "always") != 0)) return nullptr;
  const long report = syscall(SYS_openat, AT_FDCWD, p->report, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (report >= 0) syscall(SYS_close, report);
  errno = p->error;
  return p;
}

bool strike_memory(const char* call, std::size_t size, std::size_t least) {
  const Plan* p = find_plan();
  return p != nullptr && size >= least && strike(call, p->folder) != nullptr;
}

bool is_short(const Plan* p) { return std::strcmp(p->mode, "short") == 0; }

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int open_at(int folder, const char* path, int flags, mode_t mode) {
  if (strike("open", path)) return -1;
  return static_cast<int>(syscall(SYS_openat, folder, path, flags, mode));
}

mode_t mode_of(int flags, va_list rest) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

}  // namespace

extern "C" {

#define OPEN(name, before, folder)                    \
  int name(before const char* path, int flags, ...) { \
    va_list rest;                                     \
    va_start(rest, flags);                            \
    const mode_t mode = mode_of(flags, rest);         \
    va_end(rest);                                     \
    return open_at(folder, path, flags, mode);        \
  }
#define NOTHING
#define FOLDER int directory,
OPEN(open, NOTHING, AT_FDCWD)
OPEN(open64, NOTHING, AT_FDCWD)
OPEN(openat, FOLDER, directory)
OPEN(openat64, FOLDER, directory)

int fstat(int descriptor, struct stat* out) noexcept {
  if (strike("fstat", descriptor)) return -1;
  static auto* const next = real<int(int, struct stat*)>("fstat");
  return next(descriptor, out);
}
int fstat64(int descriptor, struct stat64* out) noexcept {
  return fstat(descriptor, reinterpret_cast<struct stat*>(out));
}

ssize_t read(int descriptor, void* out, size_t size) {
  if (const Plan* p = strike("read", descriptor)) {
    if (!is_short(p)) return -1;
    size = (size + 1) / 2;
  }
  return syscall(SYS_read, descriptor, out, size);
}

ssize_t pread(int descriptor, void* out, size_t size, off_t offset) {
  if (const Plan* p = strike("pread", descriptor)) {
    if (!is_short(p)) return -1;
    size = (size + 1) / 2;
  }
  return syscall(SYS_pread64, descriptor, out, size, offset);
}
ssize_t pread64(int descriptor, void* out, size_t size, off64_t offset) { return pread(descriptor, out, size, offset); }

ssize_t write(int descriptor, const void* data, size_t size) {
  if (const Plan* p = strike("write", descriptor)) {
    if (!is_short(p)) return -1;
    size = (size + 1) / 2;
  }
  return syscall(SYS_write, descriptor, data, size);
}

int fsync(int descriptor) {
  if (strike("fsync", descriptor)) return -1;
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}

int ftruncate(int descriptor, off_t size) noexcept {
  if (strike("ftruncate", descriptor)) return -1;
  return static_cast<int>(syscall(SYS_ftruncate, descriptor, size));
}
int ftruncate64(int descriptor, off64_t size) noexcept { return ftruncate(descriptor, size); }

int rename(const char* from, const char* to) noexcept {
  if (strike("rename", to)) return -1;
  return static_cast<int>(syscall(SYS_rename, from, to));
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (strike("rename", to)) return -1;
  return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

int link(const char* from, const char* to) noexcept {
  if (strike("link", to)) return -1;
  return static_cast<int>(syscall(SYS_link, from, to));
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  if (strike("link", to)) return -1;
  return static_cast<int>(syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}

void* mmap(void* address, size_t size, int protection, int flags, int descriptor, off_t offset) noexcept {
  if (strike_memory("mmap", size, kMapping)) return MAP_FAILED;
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, size, protection, flags, descriptor, offset));
}
void* mmap64(void* address, size_t size, int protection, int flags, int descriptor, off64_t offset) noexcept {
  return mmap(address, size, protection, flags, descriptor, offset);
}

int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
  if (strike_memory("memalign", size, kAllocation)) return ENOMEM;
  static auto* const next = real<int(void**, size_t, size_t)>("posix_memalign");
  return next(out, alignment, size);
}

}  // extern "C"
