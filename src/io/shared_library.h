// Libraries that few runs need: opened when they are first used, so that a start does not wait for them.
#pragma once

#include <string>

namespace sdgen {

// Open until the program ends. What it defines is not offered to other libraries.
class SharedLibrary {
 public:
  // `file`: the name under which the loader finds it, "libavif.so.15". Throws Error(internal) with the loader's reason.
  explicit SharedLibrary(const char* file);

  // The function of this name: library.function<decltype(avifVersion)>("avifVersion"). Throws Error(internal) where
  // there is none.
  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(find(name));
  }

 private:
  void* find(const char* name) const;

  std::string file_;
  void* handle_;
};

}  // namespace sdgen
