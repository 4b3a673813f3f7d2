// Which machine the networks run on, and in which precision.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "sdgen/sdgen.h"

namespace sdgen {

// auto | cpu | cuda | cuda:N | meta. "auto" is the first CUDA device where there is an NVIDIA driver that works, else
// the CPU. libtorch_cuda is opened here, and only when a CUDA device is meant: a CPU run starts faster and leaner
// without it. "meta" is libtorch's device on which nothing is read and computed, for what a run would be
// (pipeline/estimate.h). Throws Error(usage) for other words, Error(device) when the device is not available.
constexpr const char* kOnPaper = "meta";
at::Device open_device(const std::string& name);

// Precision::automatic: on the CPU bfloat16 where that is faster (AMX, AMD's AVX512-BF16), else float32; on CUDA the
// half type that the checkpoint is stored in, float16 for float32 files.
at::ScalarType choose_dtype(Precision precision, at::Device device, at::ScalarType stored);

// As users write it: float32, float16, bfloat16.
const char* precision_name(at::ScalarType dtype);

// What libtorch throws for lack of memory, or for a device that fails, has several types, some of them no more than a
// text. Inside a catch block: what is being handled, if it is that.
struct DeviceFailure {
  bool memory;
  std::string what;  // one line
};
std::optional<DeviceFailure> device_failure();

}  // namespace sdgen
