#include "nn/layers.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "sdgen/error.h"

namespace sdgen {

Linear::Linear(const Weights& w, std::int64_t in, std::int64_t out, bool with_bias)
    : weight(param(w, "weight", {out, in})), bias(with_bias ? param(w, "bias", {out}) : Tensor()) {}

Tensor Linear::forward(const Tensor& x) const { return at::linear(x, weight, bias); }

Conv2d::Conv2d(const Weights& w, std::int64_t in, std::int64_t out, Shape shape)
    : shape(shape),
      weight(param(w, "weight", {out, in, shape.kernel, shape.kernel})),
      bias(shape.with_bias ? param(w, "bias", {out}) : Tensor()) {}

Tensor Conv2d::forward(const Tensor& x) const {
  return at::conv2d(x, weight, bias, {shape.stride, shape.stride}, {shape.padding, shape.padding});
}

GroupNorm::GroupNorm(const Weights& w, std::int64_t groups, std::int64_t channels, double eps)
    : groups(groups), eps(eps), weight(param(w, "weight", {channels})), bias(param(w, "bias", {channels})) {
  if (groups <= 0 || channels % groups != 0)
    throw Error(Fault::input, concat(w.source(), ": ", channels, " channels do not divide into ", groups,
                                     " groups: norm_num_groups does not belong to this model"));
}

Tensor GroupNorm::forward(const Tensor& x) const { return at::group_norm(x, groups, weight, bias, eps); }

LayerNorm::LayerNorm(const Weights& w, std::int64_t width, double eps)
    : eps(eps), weight(param(w, "weight", {width})), bias(param(w, "bias", {width})) {}

Tensor LayerNorm::forward(const Tensor& x) const { return at::layer_norm(x, weight.sizes(), weight, bias, eps); }

Embedding::Embedding(const Weights& w, std::int64_t count, std::int64_t width)
    : weight(param(w, "weight", {count, width})) {}

Tensor Embedding::forward(const Tensor& ids) const { return at::embedding(weight, ids); }

void Embedding::append(const Tensor& rows) { weight.set_data(at::cat({weight, rows.to(weight.options())})); }

Activation activation(const std::string& name, const std::string& who) {
  if (name == "silu" || name == "swish") return [](const Tensor& x) { return at::silu(x); };
  if (name == "gelu") return [](const Tensor& x) { return at::gelu(x); };
  if (name == "quick_gelu") return [](const Tensor& x) { return x * at::sigmoid(1.702 * x); };
  if (name == "relu") return [](const Tensor& x) { return at::relu(x); };
  if (name == "mish") return [](const Tensor& x) { return at::mish(x); };
  throw Error(Fault::input,
              concat(who, ": activation '", name, "' is not supported (silu, gelu, quick_gelu, relu, mish are)"));
}

}  // namespace sdgen
