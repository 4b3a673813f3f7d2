#include "ops/onednn.h"

#include <ATen/Context.h>
#include <ATen/OpaqueTensorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace sdgen::ops::onednn {
namespace {

template <class Signature>
auto registered(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

using Scalars = c10::List<std::optional<at::Scalar>>;

// A convolution's weight in the layouts of the sizes that it has worked on last.
class Layouts {
 public:
  Layouts(Tensor plain, std::int64_t stride, std::int64_t padding)
      : stride_(stride), padding_(padding), most_(plain.nbytes() < kSmall ? 4 : 1), plain_(std::move(plain)) {}

  Tensor for_input(at::IntArrayRef sizes) {
    const std::lock_guard guard(lock_);
    const auto found = std::ranges::find(known_, sizes, [](const auto& known) { return at::IntArrayRef(known.first); });
    if (found != known_.end()) {
      std::rotate(known_.begin(), found, found + 1);
      return known_.front().second;
    }
    // One size is the rule: the plain weight is not kept for another, but made again when there is one, and kept then.
    const bool several = !known_.empty();
    if (!plain_.defined()) plain_ = known_.front().second.to_dense();
    if (known_.size() == most_) known_.pop_back();
    known_.emplace_front(sizes.vec(), laid_out(sizes));
    if (!several) plain_.reset();
    return known_.front().second;
  }

 private:
  static constexpr std::size_t kSmall = std::size_t{16} << 20;

  Tensor laid_out(at::IntArrayRef sizes) const {
    static const auto reorder =
        registered<Tensor(const Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, std::int64_t,
                          at::OptionalIntArrayRef)>("mkldnn::_reorder_convolution_weight");
    const std::int64_t p[] = {padding_, padding_}, s[] = {stride_, stride_}, one[] = {1, 1};
    return reorder.call(plain_, p, s, one, 1, sizes);
  }

  std::int64_t stride_, padding_;
  std::size_t most_;
  std::mutex lock_;
  Tensor plain_;                                                    // while it is needed
  std::deque<std::pair<std::vector<std::int64_t>, Tensor>> known_;  // the latest first
};
using Opaque = at::OpaqueTensorImpl<std::shared_ptr<Layouts>>;

// oneDNN takes bfloat16 where the processor has some of AVX-512 and the environment does not forbid it
// (ONEDNN_MAX_CPU_ISA); it says so by an exception alone.
bool has_bfloat16() {
  static const bool works = [] {
    if (!at::hasMKLDNN() || !at::globalContext().userEnabledMkldnn()) return false;
    try {
      packed_linear(at::zeros({16, 16}, at::kBFloat16));
      return true;
    } catch (const c10::Error&) {
      return false;
    }
  }();
  return works;
}

}  // namespace

Tensor packed_linear(const Tensor& weight) {
  static const auto reorder =
      registered<Tensor(const Tensor&, std::optional<std::int64_t>)>("mkldnn::_reorder_linear_weight");
  return reorder.call(weight, std::nullopt);
}

bool takes(const Tensor& weight) { return weight.is_cpu() && weight.scalar_type() == at::kBFloat16 && has_bfloat16(); }

// (The form of the convolution that adds a tensor too is slower than adding it in place afterwards.)
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus) {
  static const auto alone =
      registered<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view, Scalars,
                        std::optional<std::string_view>)>("mkldnn::_linear_pointwise");
  static const auto with_sum =
      registered<Tensor(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view)>(
          "mkldnn::_linear_pointwise", "binary");
  if (plus.defined() && plus.is_contiguous()) return with_sum.call(x, plus, weight, if_defined(bias), "add");
  const Tensor y = alone.call(x, weight, if_defined(bias), "none", Scalars(), "");
  return plus.defined() ? y.add_(plus) : y;
}

Tensor packed_conv2d(const Tensor& weight, std::int64_t stride, std::int64_t padding) {
  return at::detail::make_tensor<Opaque>(at::DispatchKeySet(at::DispatchKey::CPU), weight.dtype(), weight.device(),
                                         std::make_shared<Layouts>(weight.clone(), stride, padding), weight.sizes());
}

bool is_packed_conv2d(const Tensor& weight) { return dynamic_cast<const Opaque*>(weight.unsafeGetTensorImpl()); }

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride, std::int64_t padding) {
  static const auto convolution =
      registered<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, at::IntArrayRef, at::IntArrayRef,
                        at::IntArrayRef, std::int64_t, std::string_view, Scalars, std::optional<std::string_view>)>(
          "mkldnn::_convolution_pointwise");
  const std::int64_t p[] = {padding, padding}, s[] = {stride, stride}, one[] = {1, 1};
  const auto& layouts = static_cast<const Opaque*>(weight.unsafeGetTensorImpl())->opaque_handle();
  return convolution.call(x, layouts->for_input(x.sizes()), if_defined(bias), p, s, one, 1, "none", Scalars(), "");
}

}  // namespace sdgen::ops::onednn
