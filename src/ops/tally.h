// What the operators are asked for on libtorch's meta device, where nothing is computed: how much work a network is,
// and how much memory its activations take, without running it.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <compare>
#include <cstdint>
#include <map>

namespace sdgen::ops {

// A call of an operator that takes time by its multiplications.
struct Call {
  enum class Kind { product, convolution, doubling, attention };
  Kind kind;
  at::ScalarType dtype;
  // product: rows, in, out. convolution: batch, in, height, width, out, side of the kernel, stride, padding. doubling
  // (doubling_conv2d): batch, in, height, width, out. attention: batch, queries, keys, heads, width of a head.
  std::array<std::int64_t, 8> sizes{};

  double operations() const;  // multiplications, and as many additions
  auto operator<=>(const Call&) const = default;
};

// Counts the calls of its thread on the meta device as long as it lives; one at a time.
class Tally {
 public:
  Tally();
  ~Tally();
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;

  const std::map<Call, double>& calls() const { return calls_; }
  // Bytes of all tensors that were made by other operators than these.
  double other_bytes() const { return all_bytes_ - bytes_of_calls_; }
  // How many they were.
  double others() const { return all_ - of_calls_; }
  // Bytes of the tensors that are there, and of those that were at the same time at most since forget_most().
  std::int64_t bytes() const { return bytes_; }
  std::int64_t most_bytes() const { return most_bytes_; }
  void forget_most() { most_bytes_ = bytes_; }

  // Of this thread; null: nobody counts.
  static Tally* current();
  void add(const Call& call, const at::Tensor& result);
  void allocated(std::int64_t bytes);
  void freed(std::int64_t bytes) { bytes_ -= bytes; }
  std::uint64_t id() const { return id_; }

 private:
  std::map<Call, double> calls_;
  double all_bytes_ = 0, bytes_of_calls_ = 0, all_ = 0, of_calls_ = 0;
  std::int64_t bytes_ = 0, most_bytes_ = 0;
  std::uint64_t id_;
};

// `result`, after it was counted, where somebody counts.
inline at::Tensor counted(const Call& call, at::Tensor result) {
  if (Tally* tally = Tally::current()) tally->add(call, result);
  return result;
}

}  // namespace sdgen::ops
