// What libsdgen_cuda.so exports: the kernels, and what of libtorch's CUDA the program cannot call without linking it.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>

#include "cuda/items.h"

namespace sdgen::cuda {

// kernels.cu
int run_group_norm(const void* x, const void* weight, const void* bias, const void* shift, void* to, float* scratch,
                   const NormShape& shape, double eps, bool silu, Type type, void* stream);
int run_geglu(const void* x, void* to, std::int64_t rows, std::int64_t width, Type type, void* stream);
const char* error_name(int error);

struct Kernels::Graph {
  at::cuda::CUDAGraph graph;
};

namespace {

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// PyTorch's recipe ("CUDA graphs" in its notes): first runs, which choose algorithms and fill caches, and the recording
// go to a stream of their own, since the default one cannot be recorded.
Kernels::Graph* record(void (*work)(void*), void* context) {
  constexpr int first_runs = 2;
  const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  auto recorded = std::make_unique<Kernels::Graph>();
  c10::cuda::getCurrentCUDAStream().synchronize();  // what `work` reads may still be on its way
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    for (int i = 0; i < first_runs; ++i) work(context);
    stream.synchronize();
    recorded->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work(context);
    } catch (...) {
      try {
        recorded->graph.capture_end();  // else the stream goes on recording; there is nothing valid to end
      } catch (...) {
      }
      throw;
    }
    recorded->graph.capture_end();
  }
  return recorded.release();
}

void replay(Kernels::Graph* graph) { graph->graph.replay(); }
void forget(Kernels::Graph* graph) { delete graph; }

}  // namespace

const Kernels* sdgen_cuda_kernels(int interface) {
  static constexpr Kernels kernels = {
      &run_group_norm, &group_norm_scratch, &run_geglu, &current_stream, &error_name, &record, &replay, &forget};
  return interface == kInterface ? &kernels : nullptr;
}

}  // namespace sdgen::cuda
