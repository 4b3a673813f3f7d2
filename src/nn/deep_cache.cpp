#include "nn/deep_cache.h"

#include <algorithm>

namespace sdgen {
at::Tensor DeepCached::predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const {
  const std::size_t layers = std::min(layers_, unet_->finest_layers());
  if (!prompted_.same(x, conditioning)) left_ = 0;
  if (left_-- > 0) return unet_->predict_over(deep_, x, t, conditioning, layers);
  left_ = every_ - 1;
  return unet_->predict_keeping(x, t, conditioning, layers, deep_);
}

}  // namespace sdgen
