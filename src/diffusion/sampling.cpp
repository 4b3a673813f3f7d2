#include "diffusion/sampling.h"

#include <ATen/ops/clamp.h>
#include <ATen/ops/quantile.h>

#include <algorithm>

namespace sdgen {

using at::Tensor;

Tensor limited(const Tensor& x0, const SchedulerConfig& c) {
  if (c.thresholding) {
    const Tensor flat = x0.flatten(1);  // [B, CHW]
    const Tensor bound = at::quantile(flat.abs(), c.dynamic_thresholding_ratio, 1, /*keepdim=*/true)
                             .clamp(1.0, std::max(1.0, c.sample_max_value));
    return (at::clamp(flat, -bound, bound) / bound).view(x0.sizes());
  }
  return c.clip_sample ? x0.clamp(-c.clip_sample_range, c.clip_sample_range) : x0;
}

std::size_t warm_order(const GridSpan& span, std::size_t i, std::size_t order, bool falls) {
  const std::size_t left = span.grid.size() - i;
  return std::min({order, i - span.begin + 1, falls && span.grid.size() < 15 ? left : order});
}

}  // namespace sdgen
