// Networks that take turns on a device which is too small for all of them: the weights of those that are not at work
// wait in the host's memory.
#pragma once

#include <torch/types.h>

#include <memory>
#include <utility>
#include <vector>

namespace sdgen {

class Turn;

// A device whose networks take turns.
class Turns {
 public:
  explicit Turns(at::Device device) : device_(device) {}
  at::Device device() const { return device_; }

  // From now on no network comes as a whole: each layer fetches its own weights for as long as it works. It is far
  // slower, and needs no more room than the largest layer.
  void layer_by_layer();
  bool are_layer_by_layer() const { return layer_by_layer_; }

 private:
  friend class Turn;
  at::Device device_;
  Turn* present_ = nullptr;
  bool layer_by_layer_ = false;
};

// What comes and goes together: a network, or some that work side by side. Not thread-safe.
class Turn {
 public:
  explicit Turn(std::shared_ptr<Turns> turns) : turns_(std::move(turns)) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn();

  // Where a weight that was made on the device is from now on: a tensor that begin() fills and the next one's begin()
  // empties, but for its place in the host's memory.
  at::Tensor settle(const at::Tensor& weight);

  // Brings the weights to the device, after those that are there have gone. Nothing, where they are there already.
  // Throws what libtorch throws for lack of memory; nobody is on the device then.
  void begin();

 private:
  friend class Turns;
  struct Weight {
    at::Tensor used;  // what the network has
    at::Tensor home;
  };
  void end();

  std::shared_ptr<Turns> turns_;
  std::vector<Weight> weights_;
};

// A weight where `x` is: as it is, or fetched for one layer's work.
inline at::Tensor beside(const at::Tensor& x, const at::Tensor& weight) {
  if (!weight.defined() || weight.device() == x.device()) return weight;
  return weight.to(x.device(), weight.scalar_type(), /*non_blocking=*/true);
}

}  // namespace sdgen
