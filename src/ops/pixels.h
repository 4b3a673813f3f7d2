// Where the pixels of a picture lie, for kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sdgen::ops {

// Pixels [batch, height, width] whose channels lie side by side.
template <class T>
struct Pixels {
  T* begin = nullptr;
  std::int64_t height = 0, width = 0, picture = 0, row = 0, pixel = 0;  // sizes, and the distances from one to the next
  T* at(std::int64_t p, std::int64_t y, std::int64_t x) const { return begin + p * picture + y * row + x * pixel; }
};

template <class T>
Pixels<T> pixels_of(T* begin, const at::Tensor& x) {
  return {begin, x.size(2), x.size(3), x.stride(0), x.stride(2), x.stride(3)};
}

// The same numbers, such that pixels_of() has their channels side by side.
inline at::Tensor with_adjoining_channels(const at::Tensor& x) {
  return x.stride(1) == 1 || x.size(1) == 1 ? x : x.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace sdgen::ops
