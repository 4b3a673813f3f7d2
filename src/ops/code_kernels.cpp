// The loops of code_kernels.h, compiled as vector_kernels.cpp is, and no product is contracted with a sum: every number
// is rounded where its definition rounds it.
#include "ops/code_kernels.h"

#include "ops/simd.h"

#if defined(__AVX2__)
#include <immintrin.h>  // its functions are inlined always: there is no copy of them for the linker
#endif

#ifndef SDGEN_KERNELS
#define SDGEN_KERNELS baseline
#endif

namespace sdgen::ops {
namespace {

using namespace simd;
using Index = std::int64_t;
using Byte = std::uint8_t;

template <Index... j>
struct Lanes {};
#if defined(__AVX512F__)
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#elif defined(__AVX2__)
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7>;
#else
using AllLanes = Lanes<0, 1, 2, 3>;
#endif

template <Index... j>
SDGEN_INLINE Words numbered(Lanes<j...>) {
  return Words{j...};
}

// GCC 12 makes sixteen conversions of __builtin_convertvector() here, and warns of _mm512_cvtepu8_epi32().
#if defined(__AVX512F__)
SDGEN_INLINE Ints bytes_at(const Byte* from) {
  return bits<Ints>(_mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
SDGEN_INLINE Ints signed_bytes_at(const Byte* from) {
  return bits<Ints>(_mm512_maskz_cvtepi8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
#elif defined(__AVX2__)
SDGEN_INLINE Ints bytes_at(const Byte* from) {
  return bits<Ints>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
SDGEN_INLINE Ints signed_bytes_at(const Byte* from) {
  return bits<Ints>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
#else
SDGEN_INLINE Ints bytes_at(const Byte* from) { return Ints{from[0], from[1], from[2], from[3]}; }
SDGEN_INLINE Ints signed_bytes_at(const Byte* from) { return (bytes_at(from) ^ 128) - 128; }
#endif
SDGEN_INLINE Floats floats(Ints x) { return __builtin_convertvector(x, Floats); }

template <class T>
SDGEN_INLINE T read(const Byte* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

SDGEN_INLINE float half(const Byte* from) {
  const auto word = read<std::uint16_t>(from);
  const std::uint32_t sign = (word & 0x8000U) << 16, rest = word & 0x7FFFU;
  if (rest >= 0x7C00) return bits<float>(sign | 0x7F800000U | (rest & 0x3FFU) << 13);
  if (rest < 0x400) return bits<float>(sign | bits<std::uint32_t>(static_cast<float>(rest) * 0x1p-24f));
  return bits<float>(sign | ((rest << 13) + (112U << 23)));
}

// Calls body(i) for the vectors of [0, n).
template <class Body>
SDGEN_INLINE void by_vectors(Index n, const Body& body) {
  for (Index i = 0; i < n; i += kWidth) body(i);
}

// --- Blocks of 32

// Of two halves of a block: `low` are its first 16 codes, `high` the last.
template <Index size, class T, class Number>
SDGEN_INLINE void by_nibbles(const Byte* b, Index blocks, Index codes, float scale, T* to, const Number& number) {
  for (; blocks > 0; --blocks, b += size, to += 32) {
    const auto numbers = number(b);
    by_vectors(16, [&](Index i) {
      const Ints both = bytes_at(b + codes + i);
      store(to + i, numbers(both & 15, i) * scale);
      store(to + i + 16, numbers(both >> 4, i + 16) * scale);
    });
  }
}

template <class T>
void q4_0(const Byte* b, Index blocks, float scale, T* to) {
  by_nibbles<18>(b, blocks, 2, scale, to, [](const Byte* block) {
    return [d = half(block)](Ints codes, Index) { return d * floats(codes - 8); };
  });
}

template <class T>
void q4_1(const Byte* b, Index blocks, float scale, T* to) {
  by_nibbles<20>(b, blocks, 4, scale, to, [](const Byte* block) {
    return [d = half(block), m = half(block + 2)](Ints codes, Index) { return d * floats(codes) + m; };
  });
}

// The fifth bits of the codes from number i on.
SDGEN_INLINE Ints fifth_bits(std::uint32_t all, Index i) {
  const Words from = numbered(AllLanes()) + static_cast<std::uint32_t>(i);
  return bits<Ints>(((Words{} + all) >> from & 1) << 4);
}

template <class T>
void q5_0(const Byte* b, Index blocks, float scale, T* to) {
  by_nibbles<22>(b, blocks, 6, scale, to, [](const Byte* block) {
    return [d = half(block), high = read<std::uint32_t>(block + 2)](Ints codes, Index i) {
      return d * floats((codes | fifth_bits(high, i)) - 16);
    };
  });
}

template <class T>
void q5_1(const Byte* b, Index blocks, float scale, T* to) {
  by_nibbles<24>(b, blocks, 8, scale, to, [](const Byte* block) {
    return [d = half(block), m = half(block + 2), high = read<std::uint32_t>(block + 4)](Ints codes, Index i) {
      return d * floats(codes | fifth_bits(high, i)) + m;
    };
  });
}

template <class T>
void iq4_nl(const Byte* b, Index blocks, float scale, T* to) {
  constexpr float values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  by_nibbles<18>(b, blocks, 2, scale, to, [&](const Byte* block) {
    return [d = half(block), &values](Ints codes, Index) {
      Floats x{};
      for (Index j = 0; j < kWidth; ++j) x[j] = values[codes[j]];
      return d * x;
    };
  });
}

template <class T>
void q8_0(const Byte* b, Index blocks, float scale, T* to) {
  for (; blocks > 0; --blocks, b += 34, to += 32) {
    const float d = half(b);
    by_vectors(32, [&](Index i) { store(to + i, d * floats(signed_bytes_at(b + 2 + i)) * scale); });
  }
}

// --- Blocks of 256

template <class T>
void q2_k(const Byte* b, Index blocks, float scale, T* to) {
  for (; blocks > 0; --blocks, b += 84, to += 256) {
    const float d = half(b + 80), m = half(b + 82);
    for (Index group = 0; group < 16; ++group) {  // of 16 numbers
      const Index n = group / 8, j = group / 2 % 4;
      const float factor = d * static_cast<float>(b[group] & 15), least = m * static_cast<float>(b[group] >> 4);
      const Byte* codes = b + 16 + 32 * n + 16 * (group % 2);
      by_vectors(16, [&](Index l) {
        store(to + 16 * group + l,
              (factor * floats(bytes_at(codes + l) >> static_cast<int>(2 * j) & 3) - least) * scale);
      });
    }
  }
}

template <class T>
void q3_k(const Byte* b, Index blocks, float scale, T* to) {
  for (; blocks > 0; --blocks, b += 110, to += 256) {
    const Byte* scales = b + 96;
    const float d = half(b + 108);
    for (Index s = 0; s < 16; ++s) {  // groups of 16 numbers
      const Index n = s / 8, j = s / 2 % 4, at = 16 * (s % 2);
      const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, up = scales[8 + s % 4] >> 2 * (s / 4) & 3;
      const float factor = d * static_cast<float>((low | up << 4) - 32);
      by_vectors(16, [&](Index l) {
        const Ints high = bytes_at(b + at + l) >> static_cast<int>(4 * n + j) & 1;
        const Ints codes = bytes_at(b + 32 + 32 * n + at + l) >> static_cast<int>(2 * j) & 3;
        store(to + 16 * s + l, factor * floats(codes - 4 + (high << 2)) * scale);
      });
    }
  }
}

// Of the eight groups of Q4_K and Q5_K: factor and least number.
struct Group {
  float factor, least;
};
SDGEN_INLINE Group group_of(const Byte* b, Index j) {
  const float d = half(b), m = half(b + 2);
  const Byte* packed = b + 4;
  const int factor = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
  const int least = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | packed[j] >> 6 << 4;
  return {d * static_cast<float>(factor), m * static_cast<float>(least)};
}

template <class T>
void q4_k(const Byte* b, Index blocks, float scale, T* to) {
  for (; blocks > 0; --blocks, b += 144, to += 256)
    for (Index pair = 0; pair < 4; ++pair) {
      const Group low = group_of(b, 2 * pair), high = group_of(b, 2 * pair + 1);
      by_vectors(32, [&](Index l) {
        const Ints both = bytes_at(b + 16 + 32 * pair + l);
        store(to + 64 * pair + l, (low.factor * floats(both & 15) - low.least) * scale);
        store(to + 64 * pair + 32 + l, (high.factor * floats(both >> 4) - high.least) * scale);
      });
    }
}

template <class T>
void q5_k(const Byte* b, Index blocks, float scale, T* to) {
  for (; blocks > 0; --blocks, b += 176, to += 256)
    for (Index j = 0; j < 8; ++j) {
      const Group group = group_of(b, j);
      by_vectors(32, [&](Index l) {
        const Ints fifth = (bytes_at(b + 16 + l) >> static_cast<int>(j) & 1) << 4;
        const Ints codes = bytes_at(b + 48 + 32 * (j / 2) + l) >> static_cast<int>(4 * (j % 2)) & 15;
        store(to + 32 * j + l, (group.factor * floats(codes | fifth) - group.least) * scale);
      });
    }
}

template <class T>
void q6_k(const Byte* b, Index blocks, float scale, T* to) {
  for (; blocks > 0; --blocks, b += 210, to += 256) {
    const float d = half(b + 208);
    for (Index s = 0; s < 16; ++s) {  // groups of 16 numbers
      const Index n = s / 8, j = s / 2 % 4, at = 16 * (s % 2);
      const float factor = d * static_cast<float>(static_cast<std::int8_t>(b[192 + s]));
      by_vectors(16, [&](Index l) {
        const Ints low = bytes_at(b + 64 * n + 32 * (j % 2) + at + l) >> static_cast<int>(4 * (j / 2)) & 15;
        const Ints high = bytes_at(b + 128 + 32 * n + at + l) >> static_cast<int>(2 * j) & 3;
        store(to + 16 * s + l, factor * floats((low | high << 4) - 32) * scale);
      });
    }
  }
}

// --- Single numbers

template <class T, class Number>
SDGEN_INLINE void by_bytes(const Byte* b, Index count, float scale, T* to, const Number& number) {
  Index i = 0;
  for (; i + kWidth <= count; i += kWidth) store(to + i, number(bytes_at(b + i)) * scale);
  if (i == count) return;
  Byte last[kWidth] = {};
  __builtin_memcpy(last, b + i, static_cast<unsigned long>(count - i));
  store(to + i, number(bytes_at(last)) * scale, count - i);
}

// A sign, an exponent, and so many bits behind it: those below `least` have the exponent of nothing.
template <int mantissa, int bias>
SDGEN_INLINE Floats finite(Ints rest) {
  const Ints wide = (rest << (23 - mantissa)) + ((127 - bias) << 23);
  const float unit = bits<float>((1 - bias - mantissa + 127) << 23);
  return rest < (1 << mantissa) ? floats(rest) * unit : bits<Floats>(wide);
}
SDGEN_INLINE Floats with_sign(Ints byte, Floats x) { return bits<Floats>(bits<Ints>(x) | (byte & 128) << 24); }

template <class T>
void f8_e4m3(const Byte* b, Index count, float scale, T* to) {
  by_bytes(b, count, scale, to, [](Ints byte) {
    const Ints rest = byte & 127;
    return with_sign(byte, rest == 127 ? bits<Floats>(Ints{} + 0x7FF00000) : finite<3, 7>(rest));
  });
}

template <class T>
void f8_e5m2(const Byte* b, Index count, float scale, T* to) {
  by_bytes(b, count, scale, to, [](Ints byte) {
    const Ints rest = byte & 127;
    return with_sign(byte, rest >= 0x7C ? bits<Floats>((rest & 3) << 21 | 0x7F800000) : finite<2, 15>(rest));
  });
}

template <class T>
void i8(const Byte* b, Index count, float scale, T* to) {
  by_bytes(b, count, scale, to, [](Ints byte) { return floats((byte ^ 128) - 128); });
}

template <class T>
constexpr Decoders<T> decoders_of() {
  return {q4_0<T>, q4_1<T>, q5_0<T>, q5_1<T>, q8_0<T>,    iq4_nl<T>,  q2_k<T>,
          q3_k<T>, q4_k<T>, q5_k<T>, q6_k<T>, f8_e4m3<T>, f8_e5m2<T>, i8<T>};
}

// --- Transposition

// Of rows x and y, `distance` apart, the squares of so many words change places that lie right of x's and left of y's.
template <Index distance, Index... j>
SDGEN_INLINE void swap_squares(Words& x, Words& y, Lanes<j...>) {
  const Words above = __builtin_shufflevector(x, y, (j & distance ? kWidth + j - distance : j)...);
  y = __builtin_shufflevector(x, y, (j & distance ? kWidth + j : j + distance)...);
  x = above;
}
template <Index distance>
SDGEN_INLINE void transpose_squares(Words (&rows)[kWidth]) {
#pragma GCC unroll 16
  for (Index i = 0; i < kWidth; ++i)
    if (!(i & distance)) swap_squares<distance>(rows[i], rows[i + distance], AllLanes());
  if constexpr (distance > 1) transpose_squares<distance / 2>(rows);
}

// Words of a file may lie anywhere.
SDGEN_INLINE void copy_word(const std::uint32_t* from, std::uint32_t* to) { __builtin_memcpy(to, from, sizeof *to); }

void transpose(const std::uint32_t* from, Index rows, Index words, Index from_stride, std::uint32_t* to,
               Index to_stride) {
  Index row = 0;
  for (; row + kWidth <= rows; row += kWidth) {
    Index word = 0;
    for (; word + kWidth <= words; word += kWidth) {
      Words square[kWidth];
#pragma GCC unroll 16
      for (Index i = 0; i < kWidth; ++i)
        __builtin_memcpy(&square[i], from + (row + i) * from_stride + word, sizeof(Words));
      transpose_squares<kWidth / 2>(square);
#pragma GCC unroll 16
      for (Index i = 0; i < kWidth; ++i) __builtin_memcpy(to + (word + i) * to_stride + row, &square[i], sizeof(Words));
    }
    for (; word < words; ++word)
      for (Index i = row; i < row + kWidth; ++i) copy_word(from + i * from_stride + word, to + word * to_stride + i);
  }
  for (; row < rows; ++row)
    for (Index word = 0; word < words; ++word) copy_word(from + row * from_stride + word, to + word * to_stride + row);
}

}  // namespace

namespace SDGEN_KERNELS {
const CodeKernels code_kernels = {decoders_of<float>(), decoders_of<bfloat16>(), transpose};
}

}  // namespace sdgen::ops
