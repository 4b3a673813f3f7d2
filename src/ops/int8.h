// Products of whole numbers of 8 bits, for who asks for them: they change what a network computes. Activations are
// quantised as they come, every token by itself (Dettmers et al., 2022, "LLM.int8()", section 2.1, vector-wise).
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/ops.h"

namespace sdgen::ops {

// A matrix [out, in]: number [n][k] is weight[n][k] * scales[n].
struct Int8Matrix {
  Tensor weight;  // int8 [out, in]
  Tensor scales;  // float32 [out]
  Tensor sums;    // int32 [out]: of the weights of a row
};

// Can a matrix of so many columns be one? At most 65,536, so that no sum leaves 32 bits, and a multiple of 4.
bool multiplies_int8(std::int64_t in);

// Takes both as they are. Requires multiplies_int8() of its columns.
Int8Matrix int8_matrix(const Tensor& weight, const Tensor& scales);

// Whether the processor has such products: AVX-512 with VNNI, or AMX.
bool has_int8();

// x matrix^T + bias + plus: x [..., in] and plus [..., out] in float32 or bfloat16 on the CPU; bias and plus may be
// undefined. Every row of x is rounded to whole numbers times a scale, the largest of which is 127; their products are
// exact, and a row's result depends on that row alone. Requires has_int8().
Tensor linear_int8(const Tensor& x, const Int8Matrix& matrix, const Tensor& bias, const Tensor& plus);

}  // namespace sdgen::ops
