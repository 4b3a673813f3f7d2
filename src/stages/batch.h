// Which pictures go through the networks together.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "stages/plan.h"

namespace sdgen {

// May they be rows of the same network calls, as far as fields tell?
bool share_a_batch(Request a, const Request& b);

// Plans that run as one batch: everything but prompts and seeds is the same.
struct Batch {
  std::size_t first;  // index of plans.front() in the run
  std::span<const Plan> plans;
  std::size_t rows;  // pictures of a network call; those past plans.size() repeat the last

  const Plan::Impl& common() const { return plans.front().impl(); }
  const Plan::Impl& row(std::size_t i) const { return plans[std::min(i, plans.size() - 1)].impl(); }
};

// Neighbours that may share a batch of at most `rows` do; the order stays. `alike`: may these two, as far as their
// prompts are concerned?
std::vector<Batch> batches(std::span<const Plan> plans, std::size_t rows,
                           const std::function<bool(const Plan::Impl&, const Plan::Impl&)>& alike);

}  // namespace sdgen
