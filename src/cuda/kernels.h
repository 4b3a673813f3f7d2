// CUDA kernels for src/ops: built into a plugin of their own (libsdgen_cuda.so), which is opened where a CUDA device
// is used, so that the program itself needs no CUDA. Plain pointers and sizes: neither side sees the other's headers.
#pragma once

#include <cstdint>

namespace sdgen::cuda {

enum class Type : std::int32_t { float32, float16, bfloat16 };

// Pictures [batch, pixels, channels] whose channels fall into groups.
struct NormShape {
  std::int64_t batch, pixels, channels, groups;
};

// Functions that return int return 0, or a cudaError_t. Pointers are to device memory; work goes to `stream` (a
// cudaStream_t), nothing waits for it, and all of it can be captured into a CUDA graph.
struct Kernels {
  // to = act(group_norm(x + shift)): weight and bias [channels], shift [batch, channels] or null, all of `type`;
  // scratch: group_norm_scratch() floats.
  int (*group_norm)(const void* x, const void* weight, const void* bias, const void* shift, void* to, float* scratch,
                    const NormShape& shape, double eps, bool silu, Type type, void* stream);
  std::int64_t (*group_norm_scratch)(const NormShape& shape);

  // to = first half * gelu(second half) of each row: x [rows, 2 width], to [rows, width].
  int (*geglu)(const void* x, void* to, std::int64_t rows, std::int64_t width, Type type, void* stream);

  // The stream that libtorch works in on the current device.
  void* (*current_stream)();
  const char* (*error_name)(int error);

  // Runs `work(context)` a few times, then once more while what it launches is recorded as a CUDA graph; its memory
  // stays reserved as long as the graph lives. replay() goes to the current stream. Throws what `work` throws, and
  // libtorch's errors.
  struct Graph;
  Graph* (*record)(void (*work)(void*), void* context);
  void (*replay)(Graph* graph);
  void (*forget)(Graph* graph);
};

// Of the same meaning as long as this number is: the plugin is refused otherwise.
constexpr int kInterface = 1;

// What the plugin exports, by this name.
extern "C" const Kernels* sdgen_cuda_kernels(int interface);
using GetKernels = const Kernels* (*)(int interface);

}  // namespace sdgen::cuda
