// Products with a matrix whose numbers are made while they are needed: each thread makes those of some columns of the
// result, as the product wants them, and multiplies by them while they are in its cache.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "ops/kernels.h"
#include "ops/ops.h"

namespace sdgen::ops {

// [out, in]
struct DecodedMatrix {
  template <class T>
  using Numbers = std::function<void(std::int64_t row, std::int64_t first, std::int64_t count, T* to)>;

  std::int64_t out, in;
  std::int64_t block;  // numbers of a row are asked for by so many, and from a multiple of it on
  // `count` numbers of a row from the number `first` on. Called by several threads at once.
  Numbers<float> to_float;
  Numbers<bfloat16> to_bfloat16;
};

// Whether products of such an x are made here: in float32, and in bfloat16 where the processor has products of it.
bool multiplies_decoded(const Tensor& x, const DecodedMatrix& matrix);

// x matrix^T + bias + plus, x [..., in], plus [..., out]; bias and plus may be undefined. In float32 to the bit what
// linear() gives with the same numbers, packed. Requires multiplies_decoded().
Tensor decoded_linear(const Tensor& x, const DecodedMatrix& matrix, const Tensor& bias, const Tensor& plus);

}  // namespace sdgen::ops
