#include "stages/batch.h"

namespace sdgen {
namespace {

// May they be rows of the same network calls? Only what each row has for itself may differ: with a field that is
// forgotten here they are drawn one after the other, and still drawn right.
bool share_a_batch(Request a, const Request& b) {
  a.prompt = b.prompt;
  a.negative_prompt = b.negative_prompt;
  a.seed = b.seed;
  a.clip_skip = b.clip_skip;
  a.original_size = b.original_size;
  a.target_size = b.target_size;
  a.crop = b.crop;
  return a == b;
}

}  // namespace

std::vector<Batch> batches(std::span<const Request> requests, std::size_t rows,
                           const std::function<bool(const Request&, const Request&)>& alike) {
  std::vector<Batch> result;
  for (std::size_t begin = 0; begin < requests.size();) {
    std::size_t end = begin + 1;
    while (end < requests.size() && end - begin < rows && share_a_batch(requests[begin], requests[end]) &&
           alike(requests[begin], requests[end]))
      ++end;
    result.push_back({begin, requests.subspan(begin, end - begin), rows});
    begin = end;
  }
  return result;
}

}  // namespace sdgen
