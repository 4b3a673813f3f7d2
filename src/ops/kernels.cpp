#include "ops/kernels.h"

#include <ATen/Version.h>

#include <string>

namespace sdgen::ops {
namespace {

const Kernels& choose() {
#ifdef __x86_64__
  const std::string capability = at::get_cpu_capability();  // what there is, or less where ATEN_CPU_CAPABILITY says so
  if (capability == "AVX512") return avx512::kernels;
  if (capability == "AVX2") return avx2::kernels;
#endif
  return baseline::kernels;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace sdgen::ops
