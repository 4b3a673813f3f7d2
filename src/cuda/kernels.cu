#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "cuda/items.h"

namespace sdgen::cuda {

template <>
SDGEN_ITEM float to_float(__half x) {
  return __half2float(x);
}
template <>
SDGEN_ITEM float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
template <>
SDGEN_ITEM __half from_float(float x) {
  return __float2half_rn(x);
}
template <>
SDGEN_ITEM __nv_bfloat16 from_float(float x) {
  return __float2bfloat16_rn(x);
}

namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kMostBlocks = 1 << 16;

template <class Index, class Kernel>
__global__ void run_items(const Kernel kernel, Index items) {
  const Index stride = Index{gridDim.x} * blockDim.x;
  for (Index i = blockIdx.x * Index{blockDim.x} + threadIdx.x; i < items; i += stride) kernel(i);
}

struct OnStream {
  cudaStream_t stream;

  template <class Kernel>
  int operator()(const Kernel& kernel) const {
    const std::int64_t items = kernel.items(), blocks = parts(items, kThreads);
    if (blocks == 0) return 0;
    const auto grid = static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
    if (items < (std::int64_t{1} << 31))  // and a stride beyond the last item
      run_items<std::uint32_t><<<grid, kThreads, 0, stream>>>(kernel, static_cast<std::uint32_t>(items));
    else
      run_items<std::uint64_t><<<grid, kThreads, 0, stream>>>(kernel, static_cast<std::uint64_t>(items));
    return cudaGetLastError();
  }
};

// Calls work(T()) with the type's numbers.
template <class Work>
int with_type(Type type, const Work& work) {
  switch (type) {
    case Type::float32:
      return work(float());
    case Type::float16:
      return work(__half());
    case Type::bfloat16:
      return work(__nv_bfloat16());
  }
  return cudaErrorInvalidValue;
}

}  // namespace

int run_group_norm(const void* x, const void* weight, const void* bias, const void* shift, void* to, float* scratch,
                   const NormShape& shape, double eps, bool silu, Type type, void* stream) {
  return with_type(type, [&]<class T>(T) {
    return group_norm(static_cast<const T*>(x), static_cast<const T*>(weight), static_cast<const T*>(bias),
                      static_cast<const T*>(shift), static_cast<T*>(to), scratch, shape, eps, silu,
                      OnStream{static_cast<cudaStream_t>(stream)});
  });
}

int run_geglu(const void* x, void* to, std::int64_t rows, std::int64_t width, Type type, void* stream) {
  return with_type(type, [&]<class T>(T) {
    return geglu(static_cast<const T*>(x), static_cast<T*>(to), rows, width,
                 OnStream{static_cast<cudaStream_t>(stream)});
  });
}

const char* error_name(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace sdgen::cuda
