// A device of its own for tests of machines that have a GPU, on those that have none: it computes what the CPU
// computes, but its tensors and the CPU's do not mix, scalars aside. Include it in one file of a program.
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <limits>
#include <utility>

namespace sdgen::test {

inline const at::Device kSecondDevice{at::kPrivateUse1, 0};

namespace second_device {

C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<at::kPrivateUse1>);

struct Memory final : c10::Allocator {
  std::size_t largest = std::numeric_limits<std::size_t>::max();
  c10::DataPtr allocate(std::size_t bytes) override {
    TORCH_CHECK_WITH(OutOfMemoryError, bytes <= largest, "the second device has no ", bytes, " bytes");
    void* block = c10::GetDefaultCPUAllocator()->raw_allocate(bytes);
    const auto free = [](void* it) { c10::GetDefaultCPUAllocator()->raw_deallocate(it); };
    return {block, block, free, kSecondDevice};
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

constexpr c10::DispatchKeySet kKeys{c10::DispatchKey::PrivateUse1};

inline Memory* memory() {
  static Memory memory;
  return &memory;
}

inline at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                        std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, memory(), kKeys, dtype.value_or(at::kFloat), format);
}

inline at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                                std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, memory(), kKeys, dtype.value_or(at::kFloat));
}

// The same memory as a tensor of the CPU's.
inline at::Tensor seen_by_cpu(const at::Tensor& x) {
  return at::from_blob(x.data_ptr(), x.sizes(), x.strides(), x.options().device(at::kCPU));
}

inline at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  seen_by_cpu(to).copy_(seen_by_cpu(from));
  return to;
}

inline at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes()) {
    const at::Tensor room = at::empty(from.sizes(), to.options());
    to.unsafeGetTensorImpl()->shallow_copy_from(room.getIntrusivePtr());
  }
  return copy_from(from, to, false);
}

inline void require_one_device(const std::string& operation, const torch::jit::Stack& stack) {
  std::optional<at::Device> device;
  const auto look = [&](const at::Tensor& x) {
    if (!x.defined() || x.dim() == 0) return;
    TORCH_CHECK(!device || *device == x.device(), operation, ": tensors on ", *device, " and on ", x.device());
    device = x.device();
  };
  for (const c10::IValue& value : stack) {
    if (value.isTensor()) look(value.toTensor());
    if (value.isList())
      for (const c10::IValue& each : value.toListRef())
        if (each.isTensor()) look(each.toTensor());
  }
}

inline void on_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  require_one_device(operation.schema().name(), *stack);
  at::native::cpu_fallback(operation, stack);
}

// The one operator that libtorch leaves to devices like this.
inline at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                              at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                              bool transposed, at::IntArrayRef output_padding, std::int64_t groups) {
  require_one_device("convolution", {x, weight, bias.value_or(at::Tensor())});
  std::optional<at::Tensor> moved = bias;
  if (bias && bias->defined()) moved = bias->cpu();
  return at::convolution(x.cpu(), weight.cpu(), moved, stride, padding, dilation, transposed, output_padding, groups)
      .to(x.device());
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("convolution_overrideable", convolution);
  // libtorch's own for such devices does not know channels_last
  library.impl("native_group_norm", torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("unfold", at::native::unfold);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
}

}  // namespace second_device

// While it lives the second device refuses memory of more than so many bytes at once.
class LimitedMemory {
 public:
  explicit LimitedMemory(std::size_t largest) : before_(std::exchange(second_device::memory()->largest, largest)) {}
  LimitedMemory(const LimitedMemory&) = delete;
  LimitedMemory& operator=(const LimitedMemory&) = delete;
  ~LimitedMemory() { second_device::memory()->largest = before_; }

 private:
  std::size_t before_;
};

}  // namespace sdgen::test
