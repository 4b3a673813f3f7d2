// Which requests go through the networks together.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen {

// Requests that run as one batch: everything but prompts and seeds is the same.
struct Batch {
  std::size_t first;  // index of requests.front() in the run
  std::span<const Request> requests;
  std::size_t rows;  // pictures of a network call; those past requests.size() repeat the last

  const Request& common() const { return requests.front(); }
  const Request& row(std::size_t i) const { return requests[std::min(i, requests.size() - 1)]; }
};

// Neighbours that may share a batch of at most `rows` do; the order stays. `alike`: may these two, as far as their
// prompts are concerned?
std::vector<Batch> batches(std::span<const Request> requests, std::size_t rows,
                           const std::function<bool(const Request&, const Request&)>& alike);

}  // namespace sdgen
