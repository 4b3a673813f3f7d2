// Memory for kernels, in whole cache lines, with no numbers in it yet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace sdgen::ops {

// Of n numbers. Throws std::bad_alloc.
template <class T>
struct Buffer {
  explicit Buffer(std::int64_t n) : memory(static_cast<T*>(std::aligned_alloc(kAlign, bytes(n))), std::free) {
    if (!memory) throw std::bad_alloc();
  }
  T* get() const { return memory.get(); }

 private:
  static constexpr std::size_t kAlign = 64;
  static std::size_t bytes(std::int64_t n) {
    const std::size_t wanted = static_cast<std::size_t>(std::max<std::int64_t>(n, 1)) * sizeof(T);
    return (wanted + kAlign - 1) / kAlign * kAlign;
  }
  std::unique_ptr<T, void (*)(void*)> memory;
};

}  // namespace sdgen::ops
