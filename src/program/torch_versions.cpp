#include "program/torch_versions.h"

#include <ATen/Version.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <string>

namespace sdgen {
namespace {

// The word after `name` in what libtorch says of how it was built ("Intel(R) MKL-DNN v3.10.2 (Git Hash ...)").
std::string built_with(const std::string& name) {
  const std::string config = at::show_config();
  const auto found = config.find(name);
  if (found == std::string::npos) return "none";
  const auto begin = found + name.size();
  return config.substr(begin, config.find_first_of(" \n", begin) - begin);
}

}  // namespace

std::vector<cli::Version> torch_versions() {
  return {{"libtorch", TORCH_VERSION},
          {"oneDNN", built_with("MKL-DNN v")},
          {"oneMKL", built_with("Math Kernel Library Version ")},
          {"OpenMP", dlsym(RTLD_DEFAULT, "kmp_get_blocktime") ? "of LLVM" : "of GNU"}};  // src/program/open_core.cpp
}

}  // namespace sdgen
