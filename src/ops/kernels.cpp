#include "ops/kernels.h"

#include <ATen/Version.h>

#include <string>

#include "ops/code_kernels.h"

namespace sdgen::ops {
namespace {

struct Set {
  const Kernels& kernels;
  const CodeKernels& code_kernels;
};

Set choose() {
#ifdef __x86_64__
  const std::string capability = at::get_cpu_capability();  // what there is, or less where ATEN_CPU_CAPABILITY says so
  if (capability == "AVX512") return {avx512::kernels, avx512::code_kernels};
  if (capability == "AVX2") return {avx2::kernels, avx2::code_kernels};
#endif
  return {baseline::kernels, baseline::code_kernels};
}

const Set& chosen() {
  static const Set set = choose();
  return set;
}

}  // namespace

const Kernels& kernels() { return chosen().kernels; }

const CodeKernels& code_kernels() { return chosen().code_kernels; }

}  // namespace sdgen::ops
