#include "stages/batch.h"

#include "stages/text.h"

namespace sdgen {

// Only what each row has for itself may differ: with a field that is forgotten here they are drawn one after the other,
// and still drawn right.
bool share_a_batch(Request a, const Request& b) {
  Request other = b;
  for (Request* r : {&a, &other}) {
    forget_texts(*r);
    r->seed.reset();
  }
  return a == other;
}

std::vector<Batch> batches(std::span<const Plan> plans, std::size_t rows,
                           const std::function<bool(const Plan::Impl&, const Plan::Impl&)>& alike) {
  std::vector<Batch> result;
  for (std::size_t begin = 0; begin < plans.size();) {
    const Plan& first = plans[begin];
    std::size_t end = begin + 1;
    while (end < plans.size() && end - begin < rows && share_a_batch(first.request(), plans[end].request()) &&
           alike(first.impl(), plans[end].impl()))
      ++end;
    result.push_back({begin, plans.subspan(begin, end - begin), rows});
    begin = end;
  }
  return result;
}

}  // namespace sdgen
