#include "nn/layers.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/layer_norm.h>

#include <map>

#include "ops/int8_conv.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

Tensor longer(const Tensor& rows, const Tensor& more) { return at::cat({rows, more.to(rows.options())}); }

}  // namespace

Linear::Linear(const Weights& w, std::int64_t in, std::int64_t out, bool with_bias)
    : matrix_(matrix_param(w, "weight", out, in)), bias_(with_bias ? param(w, "bias", {out}) : Tensor()) {}

Tensor Linear::forward(const Tensor& x, const Tensor& plus) const { return matrix_.times(x, fetched(bias_, x), plus); }

Conv2d::Conv2d(const Weights& w, std::int64_t in, std::int64_t out, Params params)
    : params(params),
      weight(packed_param(w, "weight", {out, in, params.kernel, params.kernel},
                          [&](const Tensor& x) {
                            return w.rounds_tokens() && ops::int8::convolves(x.sizes(), params.stride, params.padding)
                                       ? ops::int8::packed_conv2d(x)
                                       : ops::packed_conv2d(x, params.stride, params.padding, w.draws_large());
                          })),
      bias(params.with_bias ? param(w, "bias", {out}) : Tensor()) {}

Tensor Conv2d::forward(const Tensor& x, const Tensor& plus) const {
  return ops::conv2d(x, fetched(weight, x), fetched(bias, x), params.stride, params.padding, plus);
}

GroupNorm::GroupNorm(const Weights& w, std::int64_t groups, std::int64_t channels, double eps)
    : groups(groups), eps(eps), weight(param(w, "weight", {channels})), bias(param(w, "bias", {channels})) {
  if (groups <= 0 || channels % groups != 0)
    throw Error(Fault::input, concat(w.source(), ": ", channels, " channels do not divide into ", groups,
                                     " groups: norm_num_groups does not belong to this model"));
}

Tensor GroupNorm::forward(const Tensor& x, Activation act, const Tensor& shift) const {
  if (instead)
    if (std::optional<Tensor> answer = instead(*this, x, act)) return *std::move(answer);
  return ops::group_norm(x, groups, fetched(weight, x), fetched(bias, x), eps, act, shift);
}

LayerNorm::LayerNorm(const Weights& w, std::int64_t width, double eps)
    : eps(eps), weight(param(w, "weight", {width})), bias(param(w, "bias", {width})) {}

Tensor LayerNorm::forward(const Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), fetched(weight, x), fetched(bias, x), eps);
}

Embedding::Embedding(const Weights& w, std::int64_t count, std::int64_t width, const Tensor& more)
    : table_(more.defined() ? Matrix(w.kept(longer(w.get("weight", {count, width}, Weights::Use::passing), more)))
                            : w.table("weight", count, width)),
      dtype_(w.dtype()) {
  keep("weight", table_.parameter());
}

Tensor Embedding::forward(const Tensor& ids) const { return table_.rows(ids, dtype_); }

Activation activation(const std::string& name, const std::string& who) {
  static const std::map<std::string, Activation::Kind> kinds = {
      {"silu", Activation::silu}, {"swish", Activation::silu},
      {"gelu", Activation::gelu}, {"quick_gelu", Activation::quick_gelu},
      {"relu", Activation::relu}, {"mish", Activation::mish}};
  if (const auto found = kinds.find(name); found != kinds.end()) return {found->second};
  throw Error(Fault::input,
              concat(who, ": activation '", name, "' is not supported (silu, gelu, quick_gelu, relu, mish are)"));
}

}  // namespace sdgen
