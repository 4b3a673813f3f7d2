#include "io/encode.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "io/decode.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr float kMostHalf = 65504, kMostFloat8 = 448;

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

// Rounded to a multiple of 2^`shift` of its last place, ties to even, and shifted.
std::uint32_t rounded(std::uint32_t bits, int shift) {
  return (bits + (1U << (shift - 1)) - 1 + (bits >> shift & 1)) >> shift;
}

// The nearest whole number, ties to even, of what is below 2^22.
float nearest_whole(float x) {
  constexpr float magic = 12582912;  // 1.5 * 2^23: beyond it there are no fractions
  return (x + magic) - magic;
}

// A code of E4M3, of |x| <= 448.
std::uint8_t float8(float x) {
  const std::uint32_t bits = bits_of(x), sign = bits >> 31 << 7, number = bits & 0x7FFFFFFF;
  constexpr std::uint32_t least_normal = 121U << 23;  // 2^-6; below it codes count 2^-9
  const auto small = static_cast<std::uint32_t>(nearest_whole(std::min(std::bit_cast<float>(number), 1.0F) * 512));
  const std::uint32_t normal = rounded(number, 20) - (120U << 3);  // the exponent's bias is 7, not 127
  return static_cast<std::uint8_t>(sign | (number < least_normal ? small : normal));
}

// As ggml has it: halves are rounded away from 0.
void q8_0(const float* x, std::byte* to) {
  std::uint32_t most = 0;
  for (int i = 0; i < 32; ++i) most = std::max(most, bits_of(x[i]) & 0x7FFFFFFF);
  const float d = std::bit_cast<float>(most) / 127, per = d == 0 ? 0 : 1 / d;
  const std::uint16_t half = to_half(d);
  std::memcpy(to, &half, sizeof half);
  std::int8_t codes[32];
  for (int i = 0; i < 32; ++i) {
    const float exact = x[i] * per, size = std::abs(exact);
    const int below = static_cast<int>(size);
    const int code = below + (size - static_cast<float>(below) >= 0.5F ? 1 : 0);
    codes[i] = static_cast<std::int8_t>(exact < 0 ? -code : code);
  }
  std::memcpy(to + 2, codes, sizeof codes);
}

// Each number by itself.
template <class T, class Code>
void each(std::span<const float> numbers, std::byte* to, const Code& code) {
  constexpr std::size_t most = 256;
  T codes[most];
  for (std::size_t done = 0; done < numbers.size(); done += most) {
    const std::size_t count = std::min(most, numbers.size() - done);
    for (std::size_t i = 0; i < count; ++i) codes[i] = code(numbers[done + i]);
    std::memcpy(to + done * sizeof(T), codes, count * sizeof(T));
  }
}

}  // namespace

std::uint16_t to_half(float number) {
  const std::uint32_t bits = bits_of(number), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
  constexpr std::uint32_t infinity = 255U << 23, least_normal = 113U << 23;  // 2^-14
  std::uint32_t half = 0;
  if (size > infinity)
    half = 0x7E00;  // NaN
  else if (size < least_normal)
    half = static_cast<std::uint32_t>(nearest_whole(std::bit_cast<float>(size) * 16777216));  // 2^24: of subnormals
  else
    half = std::min(rounded(std::min(size, infinity), 13) - (112U << 10), 0x7C00U);
  return static_cast<std::uint16_t>(sign | half);
}

float from_half(std::uint16_t bits) {
  float number = 0;
  decode(Encoding::F16, std::as_bytes(std::span(&bits, 1)), &number);
  return number;
}

bool encodes(Encoding encoding) {
  using enum Encoding;
  constexpr Encoding all[] = {F32, F16, BF16, Q8_0, Q4_K, F8_E4M3, I8};
  return std::ranges::find(all, encoding) != std::end(all);
}

float most_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::F16:
      return kMostHalf;
    case Encoding::BF16:
      return std::bit_cast<float>(0x7F7F0000U);
    case Encoding::Q8_0:
      return 127 * kMostHalf;
    case Encoding::Q4_K:  // its least number is a float16 times a code of six bits
      return 63 * kMostHalf;
    default:
      return std::numeric_limits<float>::max();
  }
}

float largest_of(std::span<const float> numbers) {
  std::uint32_t most = 0;  // NaNs are above infinity
  for (const float x : numbers) most = std::max(most, bits_of(x) & 0x7FFFFFFF);
  return std::bit_cast<float>(most);
}

float scale_of(Encoding encoding, float largest) {
  const float scale = largest / (encoding == Encoding::F8_E4M3 ? kMostFloat8 : 127);
  return scale > 0 ? std::max(scale, std::numeric_limits<float>::min()) : 1;
}

void encode(Encoding encoding, std::span<const float> numbers, std::byte* to, float scale) {
  switch (encoding) {
    case Encoding::F32:
      std::memcpy(to, numbers.data(), numbers.size_bytes());
      return;
    case Encoding::F16:
      return each<std::uint16_t>(numbers, to, to_half);
    case Encoding::BF16:
      return each<std::uint16_t>(numbers, to,
                                 [](float x) { return static_cast<std::uint16_t>(rounded(bits_of(x), 16)); });
    case Encoding::F8_E4M3:
      return each<std::uint8_t>(numbers, to,
                                [scale](float x) { return float8(std::clamp(x / scale, -kMostFloat8, kMostFloat8)); });
    case Encoding::I8:
      return each<std::int8_t>(numbers, to, [scale](float x) {
        return static_cast<std::int8_t>(nearest_whole(std::clamp(x / scale, -127.0F, 127.0F)));
      });
    case Encoding::Q8_0:
      for (std::size_t i = 0; i < numbers.size(); i += 32) q8_0(numbers.data() + i, to + i / 32 * 34);
      return;
    case Encoding::Q4_K:
      for (std::size_t i = 0; i < numbers.size(); i += 256) encode_q4_k(numbers.data() + i, to + i / 256 * 144);
      return;
    default:
      throw Error(Fault::internal, concat("nothing is encoded as ", info_of(encoding).name));
  }
}

}  // namespace sdgen
