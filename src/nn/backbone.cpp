#include "nn/backbone.h"

#include <ATen/ops/cat.h>

namespace sdgen {

Conditioning Conditioning::rows(std::int64_t begin, std::int64_t end) const {
  Conditioning some = *this;
  for (at::Tensor* member : members(some))
    if (member->defined()) *member = member->slice(0, begin, end);
  return some;
}

std::size_t Conditioning::bytes() const {
  std::size_t sum = 0;
  for (const at::Tensor* member : members(*this))
    if (member->defined()) sum += member->nbytes();
  return sum;
}

Conditioning Conditioning::stacked(std::span<const Conditioning> ones) {
  Conditioning all = ones.front();
  const auto to = members(all);
  for (std::size_t i = 0; i < to.size(); ++i) {
    std::vector<at::Tensor> list;
    for (const Conditioning& one : ones) list.push_back(*members(one)[i]);
    if (list.front().defined()) *to[i] = at::cat(list);
  }
  return all;
}

}  // namespace sdgen
