// oneDNN's small products, which libtorch has for its own kernels: blocks that lie in the caches already.
#pragma once

#include <cstdint>

#include "ops/kernels.h"

namespace sdgen::ops {

// c [m][n] (+)= a [m][k] b [k][n]
struct SmallProduct {
  std::int64_t m, n, k;  // k is even
};

// Whether oneDNN has the product on this processor, and in the layout that is assumed here.
bool has_brgemm();

// The rows of `a` are a_stride apart; b has pairs of its rows interleaved, [k/2][n][2]; c is contiguous. `add`: to what
// is there. Requires has_brgemm().
void brgemm(const SmallProduct& size, const bfloat16* a, std::int64_t a_stride, const bfloat16* b, bool add, float* c);

// The same of whole numbers: b has four of its rows interleaved, [k/4][n][4], and k is a multiple of 4.
bool has_brgemm_int8();
void brgemm(const SmallProduct& size, const std::uint8_t* a, std::int64_t a_stride, const std::int8_t* b, bool add,
            std::int32_t* c);

// A thread calls it behind its last product.
void release_brgemm();

}  // namespace sdgen::ops
