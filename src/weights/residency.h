// Networks that take turns on a device which is too small for all of them: the weights of those that are not at work
// wait in the host's memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <utility>
#include <vector>

#include "weights/arena.h"

namespace sdgen {

class Residency;

// A device whose networks take turns.
class OffloadDevice {
 public:
  explicit OffloadDevice(at::Device device) : device_(device) {}

  // Layer by layer: no network comes as a whole, each layer fetches its own weights for as long as it works. It is far
  // slower, and needs no more room than the largest layer.
  void set_layer_by_layer(bool on);
  bool is_layer_by_layer() const { return layer_by_layer_; }
  // Did a network's weights not find room since the last call of set_layer_by_layer()?
  bool was_too_small() const { return too_small_; }

 private:
  friend class Residency;
  at::Device device_;
  Residency* present_ = nullptr;
  bool layer_by_layer_ = false, too_small_ = false;
};

// What comes and goes together: a network, or some that work side by side. Not thread-safe.
class Residency {
 public:
  // Moves the current network's weights to host memory, to make room for the next.
  explicit Residency(std::shared_ptr<OffloadDevice> device);
  Residency(const Residency&) = delete;
  Residency& operator=(const Residency&) = delete;
  ~Residency();
  // A turn of its own on the same device.
  std::shared_ptr<Residency> another() const { return std::make_shared<Residency>(device_); }

  // Takes a weight that was made on the device to the host's memory. The result is what a network keeps: its numbers
  // are there, and while this turn lasts on the device. To be called before begin().
  at::Tensor park(const at::Tensor& weight);

  // Lets go of weights that no network has any more.
  void forget_unused();

  // Brings the weights to the device, after those that are there have gone; nothing, where they are there already, and
  // where it is layer by layer. Throws what libtorch throws for lack of memory; no weights are on the device then.
  void begin();

 private:
  friend class OffloadDevice;
  struct Weight {
    at::Tensor used, home;
  };
  void end();

  std::shared_ptr<OffloadDevice> device_;
  std::vector<Weight> weights_;
  Arena homes_;
};

// A tensor's memory on the host, contiguous: pinned where `device` is CUDA, which fetches from there while the host
// goes on, and where pinning fails as any.
at::Tensor host_memory(at::IntArrayRef shape, at::ScalarType dtype, at::Device device);
// Gives unused pinned memory back to the system.
void release_host_memory(at::Device device);

// A weight where `x` is: as it is, or fetched for one layer's work.
inline at::Tensor fetched(const at::Tensor& weight, const at::Tensor& x) {
  if (!weight.defined() || weight.device() == x.device()) return weight;
  return weight.to(x.device(), weight.scalar_type(), /*non_blocking=*/true);
}

}  // namespace sdgen
