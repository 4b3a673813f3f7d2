#include "nn/steerable_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

namespace sdgen {

Tensor LayerAdditions::behind(std::size_t layer, const Tensor& tokens) const {
  Tensor sum;
  for (const LayerSamples& network : of_networks)
    if (const std::size_t i = network.of_layer[layer]; i != LayerSamples::kNone)
      sum = sum.defined() ? sum + network.samples[i] : network.samples[i];
  if (!sum.defined()) return tokens;
  const std::int64_t n = sum.size(1);
  return n == tokens.size(1) ? tokens + sum : at::cat({tokens.slice(1, 0, n) + sum, tokens.slice(1, n)}, 1);
}

}  // namespace sdgen
