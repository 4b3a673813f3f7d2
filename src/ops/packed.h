// A weight in a layout of our own, as a tensor that only knows its sizes: whoever keeps weights need not know of it.
#pragma once

#include <ATen/OpaqueTensorImpl.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <utility>

namespace sdgen::ops {

template <class Layout>
at::Tensor packed_as(Layout layout, at::IntArrayRef sizes, at::ScalarType type) {
  return at::detail::make_tensor<at::OpaqueTensorImpl<std::shared_ptr<const Layout>>>(
      at::DispatchKeySet(at::DispatchKey::CPU), at::scalarTypeToTypeMeta(type), c10::Device(at::kCPU),
      std::make_shared<const Layout>(std::move(layout)), sizes);
}

// Null where it is in no such layout.
template <class Layout>
const Layout* packed_in(const at::Tensor& weight) {
  const auto* opaque =
      dynamic_cast<const at::OpaqueTensorImpl<std::shared_ptr<const Layout>>*>(weight.unsafeGetTensorImpl());
  return opaque ? opaque->opaque_handle().get() : nullptr;
}

}  // namespace sdgen::ops
