#include "io/shared_library.h"

#include <dlfcn.h>

#include "sdgen/error.h"

namespace sdgen {

SharedLibrary::SharedLibrary(const char* file) : file_(file), handle_(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) throw Error(Fault::internal, concat(file, " cannot be opened: ", dlerror()));
}

void* SharedLibrary::find(const char* name) const {
  if (void* found = dlsym(handle_, name)) return found;
  throw Error(Fault::internal, concat(file_, " is of another version than sdgen was built with: ", dlerror()));
}

}  // namespace sdgen
