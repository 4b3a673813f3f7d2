// Memory for many tensors, handed out of large pieces.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace sdgen {

// A piece goes back when its last tensor does. Not thread-safe.
class Arena {
 public:
  // `fresh` makes a piece, a tensor of so many bytes; there is one for `piece` bytes, or for what is larger.
  using Fresh = std::function<at::Tensor(std::int64_t bytes)>;
  Arena(std::int64_t piece, Fresh fresh) : size_(piece), fresh_(std::move(fresh)) {}

  // [bytes] uint8
  at::Tensor take(std::int64_t bytes) {
    constexpr std::int64_t align = 64;
    const std::int64_t room = (bytes + align - 1) / align * align;
    if (room > free_) {
      free_ = std::max(room, size_);
      piece_ = fresh_(free_);
    }
    const at::Tensor place = piece_.narrow(0, piece_.numel() - free_, bytes);
    free_ -= room;
    return place;
  }

 private:
  std::int64_t size_, free_ = 0;
  Fresh fresh_;
  at::Tensor piece_;
};

}  // namespace sdgen
