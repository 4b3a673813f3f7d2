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

using Scalars = c10::List<std::optional<at::Scalar>>;
using MaybeTensor = const std::optional<Tensor>&;
using MaybeText = std::optional<std::string_view>;
using Sizes = at::IntArrayRef;

// Throws c10::Error where libtorch has none of this name and signature.
template <class Signature>
class Operator {
 public:
  explicit Operator(const std::string& name, const char* overload = "")
      : handle_(c10::Dispatcher::singleton().findSchemaOrThrow(name.c_str(), overload).typed<Signature>()) {}
  template <class... Arguments>
  Tensor operator()(const Arguments&... arguments) const {
    return handle_.call(arguments...);
  }

 private:
  c10::TypedOperatorHandle<Signature> handle_;
};

// What libtorch registers and does not publish: another release may lack one of them, or take other arguments.
struct Operators {
  explicit Operators(const char* library) : library(library) {}

  std::string library;
  Operator<Tensor(const Tensor&, std::optional<std::int64_t>)> pack_linear{library + "::_reorder_linear_weight"};
  Operator<Tensor(const Tensor&, const Tensor&, MaybeTensor, std::string_view, Scalars, MaybeText)> linear{
      library + "::_linear_pointwise"};
  Operator<Tensor(const Tensor&, const Tensor&, const Tensor&, MaybeTensor, std::string_view)> linear_plus{
      library + "::_linear_pointwise", "binary"};
  Operator<Tensor(const Tensor&, Sizes, Sizes, Sizes, std::int64_t, at::OptionalIntArrayRef)> pack_conv2d{
      library + "::_reorder_convolution_weight"};
  Operator<Tensor(const Tensor&, const Tensor&, MaybeTensor, Sizes, Sizes, Sizes, std::int64_t, std::string_view,
                  Scalars, MaybeText)>
      conv2d{library + "::_convolution_pointwise"};
};

std::optional<Operators> find_operators(const char* library) {
  try {
    return Operators(library);
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

// Nothing where one of them is not as it was: weights are not packed then, and ATen computes.
const std::optional<Operators>& operators() {
  static const std::optional<Operators> found = find_operators("mkldnn");
  return found;
}

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
    const std::int64_t p[] = {padding_, padding_}, s[] = {stride_, stride_}, one[] = {1, 1};
    return operators()->pack_conv2d(plain_, p, s, one, 1, sizes);
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
    if (!at::hasMKLDNN() || !at::globalContext().userEnabledMkldnn() || !operators()) return false;
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

bool has_operators(const char* library) { return find_operators(library).has_value(); }

Tensor packed_linear(const Tensor& weight) { return operators()->pack_linear(weight, std::nullopt); }

bool takes(const Tensor& weight) { return weight.is_cpu() && weight.scalar_type() == at::kBFloat16 && has_bfloat16(); }

// (The form of the convolution that adds a tensor too is slower than adding it in place afterwards.)
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus) {
  if (plus.defined() && plus.is_contiguous()) return operators()->linear_plus(x, plus, weight, if_defined(bias), "add");
  const Tensor y = operators()->linear(x, weight, if_defined(bias), "none", Scalars(), "");
  return plus.defined() ? y.add_(plus) : y;
}

Tensor packed_conv2d(const Tensor& weight, std::int64_t stride, std::int64_t padding) {
  return at::detail::make_tensor<Opaque>(at::DispatchKeySet(at::DispatchKey::CPU), weight.dtype(), weight.device(),
                                         std::make_shared<Layouts>(weight.clone(), stride, padding), weight.sizes());
}

bool is_packed_conv2d(const Tensor& weight) { return dynamic_cast<const Opaque*>(weight.unsafeGetTensorImpl()); }

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride, std::int64_t padding) {
  const std::int64_t p[] = {padding, padding}, s[] = {stride, stride}, one[] = {1, 1};
  const auto& layouts = static_cast<const Opaque*>(weight.unsafeGetTensorImpl())->opaque_handle();
  return operators()->conv2d(x, layouts->for_input(x.sizes()), if_defined(bias), p, s, one, 1, "none", Scalars(), "");
}

}  // namespace sdgen::ops::onednn
