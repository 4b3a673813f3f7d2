#include "weights/matrix.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <c10/util/Exception.h>

#include "ops/ops.h"
#include "weights/residency.h"

namespace sdgen {

void Matrix::add(LowRank term) {
  const std::int64_t out = weight_.size(0), in = codes_ ? codes_->in : weight_.size(1);
  TORCH_CHECK(term.down.dim() == 2 && term.up.dim() == 2 && term.up.size(0) == out && term.down.size(1) == in &&
                  term.up.size(1) == term.down.size(0),
              "a term of ", term.up.sizes(), " times ", term.down.sizes(), " does not go with a matrix of ", out, "x",
              in);
  terms_.push_back(std::move(term));
}

at::Tensor Matrix::times(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& plus) const {
  at::Tensor y = codes_ ? codes_->times(x, bias, plus) : ops::linear(x, fetched(weight_, x), bias, plus);
  for (const LowRank& term : terms_) {
    const auto like_x = [&x](const at::Tensor& factor) { return factor.to(x.device(), x.scalar_type()); };
    y = ops::linear(ops::linear(x, like_x(term.down), {}) * term.scale, like_x(term.up), {}, y);
  }
  return y;
}

at::Tensor Matrix::rows(const at::Tensor& ids, at::ScalarType type) const {
  TORCH_CHECK(terms_.empty(), "a table of rows with terms");
  return codes_ ? codes_->rows(ids, type) : at::embedding(fetched(weight_, ids), ids);
}

at::Tensor Matrix::dense(at::ScalarType type) const {
  at::Tensor sum = codes_ ? codes_->dense(type) : ops::unpacked_linear(weight_).to(type);
  for (const LowRank& term : terms_)
    sum = sum + term.scale * term.up.to(sum.device(), type).matmul(term.down.to(sum.device(), type));
  return sum;
}

}  // namespace sdgen
