// The program's way to the core: libsdgen_core.so beside it, or in lib/sdgen where it is installed.
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>

#include "program/core.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

fs::path core_file() {
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  if (failure)
    throw Error(Fault::internal, concat("/proc/self/exe: ", failure.message(), ": sdgen cannot find its own folder"));
  const fs::path folder = program.parent_path();
  for (const fs::path& file : {folder / "libsdgen_core.so", folder.parent_path() / "lib/sdgen/libsdgen_core.so"})
    if (fs::exists(file, failure)) return file;
  throw Error(Fault::internal, concat(folder.string(), ": libsdgen_core.so is not there and not in ../lib/sdgen: ",
                                      "the installation is not whole"));
}

bool set_by_user(std::initializer_list<const char*> names) {
  return std::ranges::any_of(names, [](const char* name) { return std::getenv(name) != nullptr; });
}

// Which OpenMP run time libtorch's threads are in. GNU's, which it comes with, waits at barriers by spinning alone:
// where another process wants the core, the thread that spins keeps it from the one that is waited for, and two runs at
// once take many times as long as one after the other. LLVM's speaks GNU's language too, spins as long, but yields the
// core to others. Opened first, it is the one that libtorch finds. After a millisecond its threads sleep.
void open_run_time_of_threads() {
  if (void* llvm = dlopen("libomp.so.5", RTLD_NOW | RTLD_GLOBAL)) {
    const auto set_blocktime = reinterpret_cast<void (*)(int milliseconds)>(dlsym(llvm, "kmp_set_blocktime"));
    if (set_blocktime && !set_by_user({"KMP_BLOCKTIME", "OMP_WAIT_POLICY"})) set_blocktime(1);
    return;
  }
  // Without it GNU's spins so briefly that little is lost; it reads this when it is loaded, so never later than now.
  if (!set_by_user({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})) setenv("GOMP_SPINCOUNT", "1000", /*overwrite=*/0);
}

const Core& open() {
  const fs::path file = core_file();
  open_run_time_of_threads();
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) throw Error(Fault::internal, concat(file.string(), " cannot be opened: ", dlerror()));
  const auto find = reinterpret_cast<const Core* (*)()>(dlsym(library, "sdgen_core"));
  if (!find) throw Error(Fault::internal, concat(file.string(), " belongs to another version: ", dlerror()));
  return *find();
}

}  // namespace

const Core& core() {
  static const Core& opened = open();
  return opened;
}

}  // namespace sdgen

// For tests/preload/fork_server.cpp, which opens it once for thousands of runs.
extern "C" void sdgen_open_core() { sdgen::core(); }
