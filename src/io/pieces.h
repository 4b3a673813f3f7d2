// Work on many things, on several threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <future>
#include <vector>

namespace sdgen {

// Runs work(begin, end) over pieces of [0, count) on up to so many threads, each with `least` things to do. What one of
// them throws is thrown. The threads are its own: OpenMP's spin at the end of each of hundreds of tensors, which on a
// busy machine costs more than the reading.
inline void in_pieces(std::int64_t count, std::int64_t least, int threads,
                      const std::function<void(std::int64_t begin, std::int64_t end)>& work) {
  const std::int64_t pieces = std::clamp<std::int64_t>(count / std::max<std::int64_t>(least, 1), 1, threads);
  std::vector<std::future<void>> others;
  for (std::int64_t i = 1; i < pieces; ++i)
    others.push_back(std::async(std::launch::async, work, count * i / pieces, count * (i + 1) / pieces));
  work(0, count / pieces);  // the others' futures wait for them, whatever happens here
  for (std::future<void>& other : others) other.get();
}

}  // namespace sdgen
