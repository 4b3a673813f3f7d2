#include "weights/residency.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>

namespace sdgen {
namespace {

// libtorch rounds pinned memory up to powers of two: homes lie together in pieces of this size.
constexpr std::int64_t kPiece = std::int64_t{64} << 20;  // bytes

// All that hold `weight` have `other`'s numbers from now on, where those are. (Tensor::set_data does this too, but not
// for the device of the tests.)
void become(const at::Tensor& weight, const at::Tensor& other) {
  weight.unsafeGetTensorImpl()->shallow_copy_from(other.getIntrusivePtr());
}

}  // namespace

at::Tensor host_memory(at::IntArrayRef shape, at::ScalarType dtype, at::Device device) {
  const auto options = at::TensorOptions().dtype(dtype);
  if (!device.is_cuda()) return at::empty(shape, options);
  try {
    const c10::DeviceGuard guard(device);  // else the first call would wake up device 0
    return at::empty(shape, options.pinned_memory(true));
  } catch (const c10::Error&) {  // the system allows no more of it
    return at::empty(shape, options);
  }
}

void release_host_memory(at::Device device) {
  if (device.is_cuda()) at::getHostAllocator(at::kCUDA)->empty_cache();
}

void OffloadDevice::set_layer_by_layer(bool on) {
  layer_by_layer_ = on;
  too_small_ = false;
  if (on && present_) present_->end();
}

Residency::Residency(std::shared_ptr<OffloadDevice> device)
    : device_(std::move(device)), homes_(kPiece, [device = device_->device_](std::int64_t bytes) {
        return host_memory({bytes}, at::kByte, device);
      }) {
  if (device_->present_) device_->present_->end();
}

Residency::~Residency() {
  if (device_->present_ == this) device_->present_ = nullptr;
}

at::Tensor Residency::park(const at::Tensor& weight) {
  const c10::InferenceMode lasting(false);
  const at::Tensor place = homes_.take(static_cast<std::int64_t>(weight.nbytes())).view(weight.scalar_type());
  const at::Tensor home = place.as_strided(weight.sizes(), weight.strides());
  home.copy_(weight);
  weights_.push_back({home.detach(), home});
  return weights_.back().used;
}

void Residency::forget_unused() {
  if (device_->present_ == this) end();
  std::erase_if(weights_, [](const Weight& weight) { return weight.used.use_count() == 1; });
}

void Residency::begin() {
  if (device_->present_ == this || device_->layer_by_layer_) return;
  if (device_->present_) device_->present_->end();
  const c10::InferenceMode lasting(false);
  device_->present_ = this;
  try {
    for (Weight& weight : weights_)
      become(weight.used, weight.home.to(device_->device_, weight.home.scalar_type(), /*non_blocking=*/true));
  } catch (...) {
    end();
    device_->too_small_ = true;
    throw;
  }
}

void Residency::end() {
  const c10::InferenceMode lasting(false);
  for (Weight& weight : weights_) become(weight.used, weight.home);
  device_->present_ = nullptr;
}

}  // namespace sdgen
