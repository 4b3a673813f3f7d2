// What the program does when: a trace of stages, operators and, on a GPU, kernels, by libtorch's profiler (Kineto).
#pragma once

#include <filesystem>

namespace sdgen {

// Records from its construction on. The trace is JSON of Chrome's trace events: chrome://tracing, ui.perfetto.dev.
class Profile {
 public:
  // Throws Error(output) where `file` could not be written: it is there already and not to be replaced, or its folder
  // is not writable. `cuda`: with the kernels of CUDA devices.
  Profile(std::filesystem::path file, bool overwrite, bool cuda);
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  ~Profile();  // stops; nothing is written

  // Stops and writes the trace. Throws Error(output).
  void write();

 private:
  std::filesystem::path file_;
  bool overwrite_, recording_ = true;
};

}  // namespace sdgen
