#include "device/device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include <charconv>
#include <future>
#include <new>

#include "io/file.h"
#include "io/lack_of_memory.h"

namespace sdgen {
namespace {

// Number of CUDA devices, or why there is none.
struct CudaDevices {
  int count = 0;
  std::string reason;
};

CudaDevices open_cuda() {
  // Before the first call that asks ATen about CUDA: its hooks are looked up once.
  if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL)) return {0, dlerror()};
  const int count = at::detail::getCUDAHooks().deviceCount();  // NOLINT(bugprone-signed-char-misuse): it is a count
  return {count, count > 0 ? "" : "libtorch_cuda finds no device (driver missing or too old?)"};
}

bool has_nvidia_driver() { return present("/proc/driver/nvidia/version"); }

}  // namespace

at::Device open_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  if (name == kOnPaper) return at::kMeta;
  if (name == "auto") {
    if (has_nvidia_driver() && open_cuda().count > 0) return {at::kCUDA, 0};
    return at::kCPU;
  }
  int index = 0;
  bool valid = name == "cuda";
  if (name.starts_with("cuda:")) {
    const char *begin = name.data() + 5, *end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(begin, end, index);
    valid = begin != end && stop == end && error == std::errc() && index >= 0 && index < 128;
  }
  if (!valid) throw Error(Fault::usage, concat(FieldName{"device"}, " '", name, "' is not auto, cpu, cuda or cuda:N"));
  const CudaDevices devices = open_cuda();
  if (index >= devices.count)
    throw Error(Fault::device,
                concat(FieldName{"device"}, ' ', name, ": there are ", devices.count, " CUDA devices",
                       devices.reason.empty() ? "" : ": ", devices.reason,
                       devices.count ? "" : "; scripts/setup installs the CUDA libraries with SDGEN_CUDA=1"));
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

const char* precision_name(at::ScalarType dtype) {
  return dtype == at::kHalf ? "float16" : dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

at::ScalarType choose_dtype(Precision precision, at::Device device, at::ScalarType stored) {
  switch (precision) {
    case Precision::float32:
      return at::kFloat;
    case Precision::float16:
      return at::kHalf;
    case Precision::bfloat16:
      return at::kBFloat16;
    case Precision::automatic:
      break;
  }
  if (device.is_cuda()) return stored == at::kBFloat16 ? at::kBFloat16 : at::kHalf;
  // AMX multiplies bfloat16 eight times as fast as float32 is multiplied, AVX512-BF16 on AMD's cores twice as fast. On
  // Intel's without AMX (Cooper Lake; virtual machines that hide it) it is no faster, and the conversions come on top:
  // a step of SD 1.5 takes 1.3 times the float32 one (tools/README.md).
  const bool amx = __builtin_cpu_supports("amx-bf16"),
             twice = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd");
  return amx || twice ? at::kBFloat16 : at::kFloat;
}

std::optional<DeviceFailure> device_failure() {
  const auto first_line = [](const std::string& what) { return what.substr(0, what.find('\n')); };
  try {
    throw;
  } catch (const std::future_error&) {  // oneDNN's cache of what it could not make for lack of memory
    return DeviceFailure{true, "out of memory"};
  } catch (const std::bad_alloc&) {
    return DeviceFailure{true, "out of memory"};
  } catch (const c10::OutOfMemoryError& error) {
    return DeviceFailure{true, first_line(error.what_without_backtrace())};
  } catch (const c10::AcceleratorError& error) {
    constexpr int out_of_memory = 2;  // cudaErrorMemoryAllocation: of what libtorch's allocator does not hand out
    return DeviceFailure{error.get_error_code() == out_of_memory, first_line(error.what_without_backtrace())};
  } catch (const c10::Error& error) {  // the CPU's allocator throws no type of its own, nor does cuBLAS
    const std::string what = first_line(error.what_without_backtrace());
    if (says_lack_of_memory(what)) return DeviceFailure{true, what};
  } catch (const Error&) {                 // ours says itself what it is
  } catch (const std::exception& error) {  // oneDNN's
    if (says_lack_of_memory(error.what())) return DeviceFailure{true, "out of memory"};
  } catch (...) {
  }
  return std::nullopt;
}

}  // namespace sdgen
