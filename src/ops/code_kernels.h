// From codes to numbers, in the loops that products with codes spend their time in: what io/decode.h defines, to the
// bit, for each instruction set. No torch here.
#pragma once

#include <cstdint>

#include "ops/kernels.h"

namespace sdgen::ops {

// to = the numbers of so many blocks, times `scale`, in T: float or bfloat16.
template <class T>
using Decode = void (*)(const std::uint8_t* blocks, std::int64_t count, float scale, T* to);

// By the names of io/tensor_file.h. A block of the last row is one number.
template <class T>
struct Decoders {
  Decode<T> q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl;
  Decode<T> q2_k, q3_k, q4_k, q5_k, q6_k;
  Decode<T> f8_e4m3, f8_e5m2, i8;
};

struct CodeKernels {
  Decoders<float> to_float;
  Decoders<bfloat16> to_bfloat16;
  // to[word][row] = from[row][word] of words of 32 bits; rows of both are so far apart.
  void (*transpose)(const std::uint32_t* from, std::int64_t rows, std::int64_t words, std::int64_t from_stride,
                    std::uint32_t* to, std::int64_t to_stride);
};

namespace baseline {
extern const CodeKernels code_kernels;
}
namespace avx2 {
extern const CodeKernels code_kernels;
}
namespace avx512 {
extern const CodeKernels code_kernels;
}

// As kernels().
const CodeKernels& code_kernels();

}  // namespace sdgen::ops
