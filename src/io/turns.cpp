#include "io/turns.h"

#include <ATen/ops/empty_like.h>
#include <c10/core/InferenceMode.h>

namespace sdgen {
namespace {

// All that hold `weight` have `other`'s numbers from now on, and where they are. (What Tensor::set_data does, which
// does not know the meta device.)
void become(const at::Tensor& weight, const at::Tensor& other) {
  weight.unsafeGetTensorImpl()->shallow_copy_from(other.getIntrusivePtr());
}

}  // namespace

void Turns::layer_by_layer() {
  layer_by_layer_ = true;
  if (present_) present_->end();
}

Turn::~Turn() {
  if (turns_->present_ == this) turns_->present_ = nullptr;
}

at::Tensor Turn::settle(const at::Tensor& weight) {
  const at::Device device = turns_->device_;
  if (device.is_cpu()) return weight;
  const c10::InferenceMode lasting(false);
  // Pinned memory is what a device fetches from without the CPU's help, while it works.
  const at::Tensor home = at::empty_like(weight, weight.options().device(at::kCPU).pinned_memory(device.is_cuda()));
  home.copy_(weight);
  weights_.push_back({home.detach(), home});
  return weights_.back().used;
}

void Turn::begin() {
  if (turns_->present_ == this || turns_->layer_by_layer_) return;
  if (turns_->present_) turns_->present_->end();
  const c10::InferenceMode lasting(false);
  turns_->present_ = this;
  try {
    for (Weight& weight : weights_)
      become(weight.used, weight.home.to(turns_->device_, weight.home.scalar_type(), /*non_blocking=*/true));
  } catch (...) {
    end();
    throw;
  }
}

void Turn::end() {
  const c10::InferenceMode lasting(false);
  for (Weight& weight : weights_) become(weight.used, weight.home);
  turns_->present_ = nullptr;
}

}  // namespace sdgen
