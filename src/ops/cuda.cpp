#include "ops/cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <dlfcn.h>

#include <filesystem>
#include <system_error>

#include "cuda/kernels.h"
#include "sdgen/error.h"

namespace sdgen::ops::cuda {
namespace {

using sdgen::cuda::Kernels;
using sdgen::cuda::Type;

// Null where the plugin is missing or of another build: ATen's operators do the work then.
const Kernels* kernels() {
  static const Kernels* const found = []() -> const Kernels* {
    std::error_code error;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) return nullptr;
    const auto folder = program.parent_path(), above = folder.parent_path();
    // beside the program, or where it is installed; tests and tools lie a folder below the program
    for (const auto& place : {folder, above / "lib/sdgen", above}) {
      void* plugin = dlopen((place / "libsdgen_cuda.so").c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!plugin) continue;
      const auto get = reinterpret_cast<sdgen::cuda::GetKernels>(dlsym(plugin, "sdgen_cuda_kernels"));
      return get ? get(sdgen::cuda::kInterface) : nullptr;
    }
    return nullptr;
  }();
  return found;
}

Type type_of(const Tensor& x) {
  return x.scalar_type() == at::kFloat ? Type::float32 : x.scalar_type() == at::kHalf ? Type::float16 : Type::bfloat16;
}

void check(const char* what, int error) {
  if (error != 0) throw Error(Fault::device, concat(what, " on the GPU: ", kernels()->error_name(error)));
}

const void* pointer(const Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

}  // namespace

bool takes(const Tensor& x) {
  return x.is_cuda() && x.numel() > 0 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16) &&
         kernels();
}

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps, bool silu,
                  const Tensor& shift) {
  const c10::DeviceGuard guard(x.device());
  const sdgen::cuda::NormShape shape{x.size(0), x.size(2) * x.size(3), x.size(1), groups};
  const Tensor to = at::empty_like(x);
  const Tensor scratch = at::empty({kernels()->group_norm_scratch(shape)}, x.options().dtype(at::kFloat));
  const Tensor shifts = shift.defined() ? shift.contiguous() : shift;
  check("GroupNorm", kernels()->group_norm(pointer(x), pointer(weight), pointer(bias), pointer(shifts),
                                           to.mutable_data_ptr(), scratch.mutable_data_ptr<float>(), shape, eps, silu,
                                           type_of(x), kernels()->current_stream()));
  return to;
}

Tensor geglu(const Tensor& x) {
  const c10::DeviceGuard guard(x.device());
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() /= 2;
  const Tensor to = at::empty(sizes, x.options());
  const std::int64_t width = sizes.back(), rows = to.numel() / std::max<std::int64_t>(width, 1);
  check("GEGLU",
        kernels()->geglu(pointer(x), to.mutable_data_ptr(), rows, width, type_of(x), kernels()->current_stream()));
  return to;
}

Replays::Recorder recorder(at::Device device) {
  if (!kernels()) return {};
  return [device](const std::function<void()>& run) -> std::function<void()> {
    const c10::DeviceGuard guard(device);
    std::function<void()> work = run;
    const auto call = [](void* context) { (*static_cast<std::function<void()>*>(context))(); };
    const std::shared_ptr<Kernels::Graph> graph(kernels()->record(call, &work), kernels()->forget);
    return [graph, device] {
      const c10::DeviceGuard guard(device);
      kernels()->replay(graph.get());
    };
  };
}

}  // namespace sdgen::ops::cuda
