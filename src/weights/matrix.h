// The matrix of a linear layer. The layer does not care how it is kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "weights/codes.h"

namespace sdgen {

// A matrix of low rank, scale * up down (Hu et al., 2021, "LoRA"): down [rank, in], up [out, rank], of any
// floating-point type, on any device.
struct LowRank {
  at::Tensor down, up;
  double scale = 1;
};

class Matrix {
 public:
  // [out, in]: plain, or ops::packed_linear()'s. Wherever it is, it is fetched for each product.
  explicit Matrix(at::Tensor weight) : weight_(std::move(weight)) {}
  // As a file has it.
  explicit Matrix(Codes codes) : weight_(codes.bytes), codes_(std::move(codes)) {}

  // From now on the matrix is the sum with `term`, whose tensors may learn.
  void add(LowRank term);

  // x matrix^T + bias + plus: x [..., in], plus [..., out]; bias and plus may be undefined.
  at::Tensor times(const at::Tensor& x, const at::Tensor& bias = {}, const at::Tensor& plus = {}) const;
  // Rows, by their numbers: ids int64 [...] -> [..., in], of codes in `type`. Requires a plain matrix, or codes,
  // without terms: what Weights::table() gives.
  at::Tensor rows(const at::Tensor& ids, at::ScalarType type) const;
  // Its numbers [out, in], terms included: a tensor of its own, or the weight itself.
  at::Tensor dense(at::ScalarType type) const;

  // What a network counts as its parameter: the weight as it is kept.
  const at::Tensor& parameter() const { return weight_; }

 private:
  at::Tensor weight_;  // of codes their bytes
  std::optional<Codes> codes_;
  std::vector<LowRank> terms_;
};

}  // namespace sdgen
