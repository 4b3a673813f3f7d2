// Operators that libtorch's C++ has not for the meta device, or has in Python alone: the shapes of their results.
#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/result_type.h>
#include <torch/library.h>

namespace sdgen::ops {
namespace {

at::Tensor& filled(at::Tensor& self, const at::Scalar& /*value*/) { return self; }
at::Tensor& filled_with(at::Tensor& self, const at::Tensor& /*value*/) { return self; }
at::Tensor& mask_filled(at::Tensor& self, const at::Tensor& /*mask*/, const at::Scalar& /*value*/) { return self; }
at::Tensor& mask_filled_with(at::Tensor& self, const at::Tensor& /*mask*/, const at::Tensor& /*value*/) { return self; }
at::Tensor of_same_shape(const at::Tensor& self) { return at::empty_like(self); }
at::Tensor flipped(const at::Tensor& self, at::IntArrayRef /*dims*/) { return at::empty_like(self); }

at::Tensor selected(const at::Tensor& self, std::int64_t dim, const at::Tensor& index) {
  std::vector<std::int64_t> sizes = self.sizes().vec();
  sizes[std::size_t(dim < 0 ? dim + self.dim() : dim)] = index.numel();
  return at::empty(sizes, self.options());
}

at::Tensor picked(const at::Tensor& condition, const at::Tensor& self, const at::Tensor& other) {
  return at::empty(at::infer_size(at::infer_size(condition.sizes(), self.sizes()), other.sizes()),
                   condition.options().dtype(at::result_type(self, other)));
}

at::Tensor deviation(const at::Tensor& self, at::OptionalIntArrayRef dims,
                     const std::optional<at::Scalar>& /*correction*/, bool keep) {
  return self.mean(dims, keep);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> normed(const at::Tensor& self, at::IntArrayRef /*shape*/,
                                                      const std::optional<at::Tensor>& /*weight*/,
                                                      const std::optional<at::Tensor>& /*bias*/, double /*eps*/) {
  const at::Tensor moments = at::empty({0}, self.options());
  return {at::empty_like(self, at::MemoryFormat::Contiguous), moments, moments};
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("fill_.Scalar", &filled);
  library.impl("fill_.Tensor", &filled_with);
  library.impl("masked_fill_.Scalar", &mask_filled);
  library.impl("masked_fill_.Tensor", &mask_filled_with);
  library.impl("relu", &of_same_shape);
  library.impl("flip", &flipped);
  library.impl("index_select", &selected);
  library.impl("where.self", &picked);
  library.impl("native_layer_norm", &normed);
  library.impl("std.correction", &deviation);
}

}  // namespace sdgen::ops
