// The program's way to the core: libsdgen_core.so beside it, or in lib/sdgen where it is installed.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <initializer_list>

#include "core.h"
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

// GNU's OpenMP reads these when it is loaded. Its threads wait for each other by spinning, and where another process wants
// the core, the one that spins keeps it from the one that is waited for. kSpins is long enough for what comes next in a
// network, and short against the scheduler's slices.
class SpinSetting {
 public:
  SpinSetting() {
    for (const char* theirs : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"})
      if (std::getenv(theirs)) return;
    set_ = setenv(kName, kSpins, /*overwrite=*/0) == 0;
  }
  SpinSetting(const SpinSetting&) = delete;
  SpinSetting& operator=(const SpinSetting&) = delete;
  ~SpinSetting() {
    if (set_) unsetenv(kName);  // not for programs that this one starts
  }

 private:
  static constexpr const char *kName = "GOMP_SPINCOUNT", *kSpins = "10000";
  bool set_ = false;
};

const Core& open() {
  const fs::path file = core_file();
  const SpinSetting setting;
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
