#include "io/decode.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "sdgen/error.h"

namespace sdgen {
namespace {

using Byte = std::uint8_t;

template <class T>
T read(const Byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Of a sign, then `exponent_bits`, then `mantissa_bits`. Infinities and NaNs are all of the largest exponent; without
// infinities its largest mantissa alone is a NaN.
constexpr float small_float(std::uint32_t bits, int exponent_bits, int mantissa_bits, bool infinities) {
  const std::uint32_t sign = bits >> (exponent_bits + mantissa_bits) << 31,
                      exponent = bits >> mantissa_bits & ((1U << exponent_bits) - 1),
                      mantissa = bits & ((1U << mantissa_bits) - 1), most = (1U << exponent_bits) - 1;
  const std::uint32_t wide = mantissa << (23 - mantissa_bits);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == most && (infinities || mantissa == (1U << mantissa_bits) - 1))
    return std::bit_cast<float>(sign | 0x7F800000 | wide);
  if (exponent == 0) {  // mantissa * 2^(1 - bias - mantissa_bits), exactly
    const float unit = std::bit_cast<float>(static_cast<std::uint32_t>(1 - bias - mantissa_bits + 127) << 23);
    const float value = static_cast<float>(mantissa) * unit;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | (exponent + static_cast<std::uint32_t>(127 - bias)) << 23 | wide);
}

float half(const Byte* from) { return small_float(read<std::uint16_t>(from), 5, 10, true); }

template <int exponent_bits, int mantissa_bits, bool infinities>
void float8(const Byte* from, std::size_t count, float* to) {
  static const auto table = [] {
    std::array<float, 256> values{};
    for (std::uint32_t i = 0; i < 256; ++i) values[i] = small_float(i, exponent_bits, mantissa_bits, infinities);
    return values;
  }();
  for (std::size_t i = 0; i < count; ++i) to[i] = table[from[i]];
}

// Blocks of 32: a factor, with some the least number too, then codes.
void q8_0(const Byte* b, float* to) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
}

void q4_0(const Byte* b, float* to) {
  const float d = half(b);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>((b[2 + i] & 15) - 8);
    to[i + 16] = d * static_cast<float>((b[2 + i] >> 4) - 8);
  }
}

void q4_1(const Byte* b, float* to) {
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>(b[4 + i] & 15) + m;
    to[i + 16] = d * static_cast<float>(b[4 + i] >> 4) + m;
  }
}

// The fifth bits lie together before the rest.
int five_bits(std::uint32_t high, const Byte* codes, int i) {
  const int low = i < 16 ? codes[i] & 15 : codes[i - 16] >> 4;
  return low | static_cast<int>(high >> i & 1) << 4;
}

void q5_0(const Byte* b, float* to) {
  const float d = half(b);
  const auto high = read<std::uint32_t>(b + 2);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(five_bits(high, b + 6, i) - 16);
}

void q5_1(const Byte* b, float* to) {
  const float d = half(b), m = half(b + 2);
  const auto high = read<std::uint32_t>(b + 4);
  for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(five_bits(high, b + 8, i)) + m;
}

// Blocks of 256, in groups that have a factor of their own, which is a code too.
void q2_k(const Byte* b, float* to) {
  const float d = half(b + 80), m = half(b + 82);
  const Byte *scales = b, *codes = b + 16;
  for (int i = 0; i < 256; ++i) {
    const int n = i / 128, j = i / 32 % 4, l = i % 32, s = 8 * n + 2 * j + l / 16;
    const auto q = static_cast<float>(codes[32 * n + l] >> 2 * j & 3);
    to[i] = d * static_cast<float>(scales[s] & 15) * q - m * static_cast<float>(scales[s] >> 4);
  }
}

void q3_k(const Byte* b, float* to) {
  const Byte *high = b, *codes = b + 32, *scales = b + 96;
  const float d = half(b + 108);
  for (int i = 0; i < 256; ++i) {
    const int n = i / 128, j = i / 32 % 4, l = i % 32, s = 8 * n + 2 * j + l / 16;
    const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, up = scales[8 + s % 4] >> 2 * (s / 4) & 3;
    const int q = (codes[32 * n + l] >> 2 * j & 3) - ((high[l] >> (4 * n + j) & 1) ? 0 : 4);
    to[i] = d * static_cast<float>((low | up << 4) - 32) * static_cast<float>(q);
  }
}

// Of the eight groups of Q4_K and Q5_K: factor and least number, six bits each.
struct Group {
  int factor, least;
};
Group group_of(const Byte* packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 15) | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4};
}

void q4_k(const Byte* b, float* to) {
  const float d = half(b), m = half(b + 2);
  for (int j = 0; j < 8; ++j) {
    const Group group = group_of(b + 4, j);
    const float factor = d * static_cast<float>(group.factor), least = m * static_cast<float>(group.least);
    const Byte* codes = b + 16 + 32 * (j / 2);
    for (int l = 0; l < 32; ++l) to[32 * j + l] = factor * static_cast<float>(codes[l] >> 4 * (j % 2) & 15) - least;
  }
}

void q5_k(const Byte* b, float* to) {
  const float d = half(b), m = half(b + 2);
  for (int j = 0; j < 8; ++j) {
    const Group group = group_of(b + 4, j);
    const float factor = d * static_cast<float>(group.factor), least = m * static_cast<float>(group.least);
    const Byte *high = b + 16, *codes = b + 48 + 32 * (j / 2);
    for (int l = 0; l < 32; ++l) {
      const int q = (codes[l] >> 4 * (j % 2) & 15) | (high[l] >> j & 1) << 4;
      to[32 * j + l] = factor * static_cast<float>(q) - least;
    }
  }
}

void q6_k(const Byte* b, float* to) {
  const Byte *low = b, *high = b + 128, *scales = b + 192;
  const float d = half(b + 208);
  for (int i = 0; i < 256; ++i) {
    const int n = i / 128, j = i / 32 % 4, l = i % 32;
    const int q = (low[64 * n + 32 * (j % 2) + l] >> 4 * (j / 2) & 15) | (high[32 * n + l] >> 2 * j & 3) << 4;
    const auto scale = static_cast<std::int8_t>(scales[8 * n + 2 * j + l / 16]);
    to[i] = d * static_cast<float>(scale) * static_cast<float>(q - 32);
  }
}

void iq4_nl(const Byte* b, float* to) {
  constexpr std::int8_t values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const float d = half(b);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * static_cast<float>(values[b[2 + i] & 15]);
    to[i + 16] = d * static_cast<float>(values[b[2 + i] >> 4]);
  }
}

// bitsandbytes' types of four bits, over their largest number. NF4: quantiles of a normal distribution ("QLoRA",
// Dettmers et al., 2023, appendix E). FP4: a sign, two bits of exponent, one of mantissa. The first number is in the
// upper half.
constexpr float kNf4[] = {-1.0F,
                          -0.6961928009986877F,
                          -0.5250730514526367F,
                          -0.39491748809814453F,
                          -0.28444138169288635F,
                          -0.18477343022823334F,
                          -0.09105003625154495F,
                          0.0F,
                          0.07958029955625534F,
                          0.16093020141124725F,
                          0.24611230194568634F,
                          0.33791524171829224F,
                          0.44070982933044434F,
                          0.5626170039176941F,
                          0.7229568362236023F,
                          1.0F};
constexpr float kFp4[] = {0.0F, 0.0625F / 12,  8.0F / 12,  12.0F / 12,  4.0F / 12,  6.0F / 12,  2.0F / 12,  3.0F / 12,
                          0.0F, -0.0625F / 12, -8.0F / 12, -12.0F / 12, -4.0F / 12, -6.0F / 12, -2.0F / 12, -3.0F / 12};
void pair_of(const float* table, Byte codes, float* to) {
  to[0] = table[codes >> 4];
  to[1] = table[codes & 15];
}
void nf4(const Byte* b, float* to) { pair_of(kNf4, *b, to); }
void fp4(const Byte* b, float* to) { pair_of(kFp4, *b, to); }

using Block = void (*)(const Byte* block, float* to);
Block block_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::Q8_0:
      return q8_0;
    case Encoding::Q4_0:
      return q4_0;
    case Encoding::Q4_1:
      return q4_1;
    case Encoding::Q5_0:
      return q5_0;
    case Encoding::Q5_1:
      return q5_1;
    case Encoding::Q2_K:
      return q2_k;
    case Encoding::Q3_K:
      return q3_k;
    case Encoding::Q4_K:
      return q4_k;
    case Encoding::Q5_K:
      return q5_k;
    case Encoding::Q6_K:
      return q6_k;
    case Encoding::IQ4_NL:
      return iq4_nl;
    case Encoding::NF4:
      return nf4;
    case Encoding::FP4:
      return fp4;
    default:
      return nullptr;
  }
}

template <class T>
void plain(const Byte* from, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<float>(read<T>(from + i * sizeof(T)));
}

}  // namespace

bool decodes(Encoding encoding) {
  using enum Encoding;
  constexpr std::array plain_ones{F8_E4M3, F8_E5M2, F16, BF16, F32, F64, I8};
  return block_of(encoding) || std::ranges::find(plain_ones, encoding) != plain_ones.end();
}

void decode(Encoding encoding, std::span<const std::byte> blocks, float* to) {
  const EncodingInfo& info = info_of(encoding);
  const auto* from = reinterpret_cast<const Byte*>(blocks.data());
  const std::size_t count = blocks.size() / info.bytes;
  if (const Block block = block_of(encoding)) {
    for (std::size_t i = 0; i < count; ++i) block(from + i * info.bytes, to + i * info.elements);
    return;
  }
  switch (encoding) {
    case Encoding::F8_E4M3:
      return float8<4, 3, false>(from, count, to);
    case Encoding::F8_E5M2:
      return float8<5, 2, true>(from, count, to);
    case Encoding::F16:
      for (std::size_t i = 0; i < count; ++i) to[i] = half(from + 2 * i);
      return;
    case Encoding::BF16:
      for (std::size_t i = 0; i < count; ++i)
        to[i] = std::bit_cast<float>(static_cast<std::uint32_t>(read<std::uint16_t>(from + 2 * i)) << 16);
      return;
    case Encoding::F32:
      return plain<float>(from, count, to);
    case Encoding::F64:
      return plain<double>(from, count, to);
    case Encoding::I8:
      return plain<std::int8_t>(from, count, to);
    default:
      throw Error(Fault::internal, concat(info.name, " is no encoding of weights"));
  }
}

}  // namespace sdgen
