#include "stages/drawn_size.h"

#include <ATen/ops/upsample_bilinear2d.h>

#include <algorithm>

#include "families/drawn_sizes.h"

namespace sdgen {

Size drawn_size(const Latents& latents, const Request& request) {
  const Size asked{*request.width, *request.height};
  return latents.drawn.empty() ? asked : nearest_in_shape(latents.drawn, asked);
}

at::Tensor cut_to(const at::Tensor& pictures, Size asked) {
  const std::int64_t height = pictures.size(2), width = pictures.size(3);
  if (height == asked.height && width == asked.width) return pictures;
  const double ratio = std::max(double(asked.height) / double(height), double(asked.width) / double(width));
  // diffusers rounds down, and has nothing left of a side that comes out a pixel too short.
  const auto grown = [ratio](std::int64_t side, int least) {
    return std::max<std::int64_t>(static_cast<std::int64_t>(double(side) * ratio), least);
  };
  const std::int64_t high = grown(height, asked.height), wide = grown(width, asked.width);
  return at::upsample_bilinear2d(pictures, {high, wide}, /*align_corners=*/false)
      .narrow(2, (high - asked.height) / 2, asked.height)
      .narrow(3, (wide - asked.width) / 2, asked.width);
}

}  // namespace sdgen
