#include "stages/picture_tensor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cstring>

namespace sdgen {

Image to_image(const at::Tensor& picture) {
  const at::Tensor bytes =
      ((picture / 2 + 0.5).clamp(0, 1) * 255).round().to(at::kByte).permute({1, 2, 0}).contiguous();
  Image image{static_cast<int>(bytes.size(1)), static_cast<int>(bytes.size(0)), {}};
  image.rgb.resize(bytes.numel());
  std::memcpy(image.rgb.data(), bytes.data_ptr(), image.rgb.size());
  return image;
}

at::Tensor to_unit_tensor(const Image& image) {
  const at::Tensor bytes = at::empty({image.height, image.width, 3}, at::kByte);
  std::memcpy(bytes.data_ptr(), image.rgb.data(), image.rgb.size());
  return (bytes.to(at::kFloat) / 255).permute({2, 0, 1}).unsqueeze(0).contiguous();
}

at::Tensor to_tensor(const Image& image) { return 2 * to_unit_tensor(image) - 1; }

}  // namespace sdgen
