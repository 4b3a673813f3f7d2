// What changes from one network call to the next, and seldom does.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace sdgen {

template <class T>
struct PerCall {
  std::vector<T> distinct;
  std::vector<std::size_t> of_call;  // which of these

  const T& at(std::size_t call) const { return distinct[of_call[std::min(call, of_call.size() - 1)]]; }
};

}  // namespace sdgen
